"""The pretrained model behind a tuned one: the same weights, with the tuner off while it is asked. No second copy in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.evaluating import evaluating
from difftuning.backbones.labels import LabelChange, LabelSpace
from difftuning.errors import ModelError
from difftuning.types import Condition


class SwitchedOff(Backbone):
    """Answers as the model did before its labels changed and a tuner was attached.

    Args:
        tuned: the model, in the target's label space.
        off: of its tuner.
        labels: the label space that it had.
        change: what became of these; where the table was replaced, only the null label is left of it.
        digest: of the model before.
    """

    def __init__(
        self,
        tuned: Backbone,
        off: Callable[[], AbstractContextManager[None]],
        labels: LabelSpace,
        change: LabelChange,
        digest: str,
    ) -> None:
        self.__dict__ |= tuned.__dict__
        self.tuned, self.off, self._digest = tuned, off, digest
        self.labels = labels
        shares_rows = change.kind in ("keep", "extend") and not tuned.by_prompt
        self._rows = (
            torch.arange(len(labels)) if shares_rows or labels == tuned.labels else torch.full((len(labels),), -1)
        )

    @property
    def default_label(self) -> int:
        """The row of its own default condition."""
        return self.labels.null + int(self.by_prompt)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The answer without the tuner.

        Raises:
            ModelError: it is asked under a class whose row was replaced.
        """
        # Behind the classes the null label and the default condition, which move when the tuned model learns further prompts.
        last = torch.tensor([self.tuned.labels.null, self.tuned.default_label])
        asked = condition.translated(torch.cat([self._rows, last]))
        if min(asked.rows(), default=0) < 0:
            raise ModelError(f"{self.name}: its classes were replaced, so it can be asked under no condition only")
        # A teacher answers without dropout, also where its student trains with it.
        with self.off(), evaluating(self.tuned.network):
            return self.tuned(x_t, t, asked)

    def change_labels(self, change: LabelChange, target: tuple[str, ...]) -> Tensor:
        """Refused: it shares its weights."""
        raise ModelError(
            f"{self.name}: it shares its weights with a tuned model; load it by itself to change its labels"
        )

    def digest(self) -> str:
        """Of the model before."""
        return self._digest

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Refused: it shares its weights."""
        raise ModelError(f"{self.name}: it shares its weights with a tuned model; load it by itself to save it")
