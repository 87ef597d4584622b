"""The label space of a class-conditional model, and how it becomes the target's.

The null row, which stands for "no condition", always survives: retention trains on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from difftuning.config.section import Section
from difftuning.errors import ModelError, did_you_mean


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The classes a model knows: row i of its table is `names[i]`; row `null` (the last) stands for "no condition"."""

    names: tuple[str, ...]

    @property
    def null(self) -> int:
        """The row of the null label, taken from the model: it follows the last class."""
        return len(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The row of a class by name.

        Raises:
            ModelError: there is no such class.
        """
        if name not in self.names:
            raise ModelError(f"the model has no class {name!r}{did_you_mean(name, self.names)}")
        return self.names.index(name)

    def indices(self, names: Sequence[str]) -> Tensor:
        """(n,) int64: the rows of classes by name.

        Raises:
            ModelError: there is no such class.
        """
        rows: dict[str, int] = {}
        for row, name in enumerate(self.names):  # of two classes of one name the first, as `index` has it
            rows.setdefault(name, row)
        return torch.tensor([rows[name] if name in rows else self.index(name) for name in names], dtype=torch.int64)


class Keep(Section):
    """The target's labels are rows of the model's own table."""

    kind: Literal["keep"] = "keep"


class Replace(Section):
    """A new table for the target's classes; each new row starts as a copy of the null row."""

    kind: Literal["replace"] = "replace"


class Extend(Section):
    """The model's classes stay and the target's follow them; a class of the same name is shared."""

    kind: Literal["extend"] = "extend"


class FromSource(Section):
    """A new table for the target's classes, each starting from a chosen source class."""

    kind: Literal["from-source"] = "from-source"
    start: dict[str, str] = Field(default_factory=dict)
    """Target class to source class; a target class not named here starts from the null row."""


LabelChange = Annotated[Keep | Replace | Extend | FromSource, Field(discriminator="kind")]
KINDS: dict[str, type[BaseModel]] = {"keep": Keep, "replace": Replace, "extend": Extend, "from-source": FromSource}


@dataclass(frozen=True, slots=True)
class ChangedTable:
    """The outcome of a label change.

    Attributes:
        space: the new label space.
        table: (len(space) + 1, D) the new embedding rows, the null row last.
        target_rows: (K,) int64, the row of each target class.
    """

    space: LabelSpace
    table: Tensor
    target_rows: Tensor


def target_rows(change: LabelChange, space: LabelSpace, target: tuple[str, ...]) -> Tensor:
    """(K,) int64: the row of each target class in a space that `change` has made, or is about to.

    Under `keep` a target whose classes are not all known by name takes the first rows in order, and a model that knows no classes
    takes all of them under none.
    """
    if isinstance(change, Keep) and not set(target) <= set(space.names):
        return torch.arange(len(target)) if len(space) else torch.full((len(target),), space.null)
    return space.indices(target)


def check_labels(change: LabelChange, space: LabelSpace, target: tuple[str, ...]) -> None:
    """Raise what `change_labels` would, and change nothing."""
    change_labels(change, space, torch.zeros(len(space) + 1, 1), target)


def change_labels(change: LabelChange, space: LabelSpace, table: Tensor, target: tuple[str, ...]) -> ChangedTable:
    """Bring a class table to the target's label space.

    Args:
        change: what to do.
        space: the model's label space.
        table: (len(space) + 1, D) its rows, the null row last.
        target: the target's class names.

    Raises:
        ModelError: a class that `keep` or `from-source` needs is not in the model.
    """
    null = table[space.null]
    if isinstance(change, Keep):
        if len(target) > len(space) > 0 and not set(target) <= set(space.names):
            raise ModelError(
                f"labels.kind=keep: the target has {len(target)} classes, the model {len(space)}; "
                "use labels.kind=replace, extend or from-source"
            )
        return ChangedTable(space, table, target_rows(change, space, target))
    if isinstance(change, Extend):
        new = tuple(name for name in target if name not in space.names)
        extended = LabelSpace(space.names + new)
        grown = torch.cat([table[: len(space)], null.expand(len(new), -1), null[None]])
        return ChangedTable(extended, grown, target_rows(change, extended, target))
    start = change.start if isinstance(change, FromSource) else {}
    for name in start:
        if name not in target:
            raise ModelError(
                f"labels.start names {name!r}, which is no class of the target{did_you_mean(name, target)}"
            )
    fresh = [table[space.index(start[name])] if name in start else null for name in target]
    replaced = LabelSpace(target)
    return ChangedTable(replaced, torch.stack([*fresh, null]), target_rows(change, replaced, target))
