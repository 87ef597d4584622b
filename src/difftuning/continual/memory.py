"""The memory of a stream: what the bank of a phase is made of, and when it is made anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from difftuning.config.section import Section


class Static(Section):
    """Diff-Tuning with the bank that the pretrained model has drawn before the first phase, through all of them."""

    kind: Literal["static"] = "static"


class Refresh(Section):
    """Diff-Tuning with a bank that is made anew before a phase: some of the first bank, the rest drawn by the current model."""

    kind: Literal["refresh"] = "refresh"
    keep: float = Field(0.4, ge=0, le=1)
    """The share that is kept of the first bank; the paper keeps 40 % (section 4.5)."""
    every: int = Field(1, gt=0)
    """Refresh before each so many-th phase after the first; between, the bank stays as it is."""
    rise: float | None = Field(None, ge=0)
    """Refresh then only where the current model's held-out error lies higher on the images of the next phase than on those of the
    phase before by this share, in any of ten bins of u, each as a share of the pretrained model's error; null to refresh always."""
    condition: Literal["drawn"] | None = None
    """`drawn`: what the current model draws trains under the class that it was drawn under, so that a class of earlier phases is
    replayed as such; what is copied of an earlier bank trains under none. Null for none, for all items."""


@dataclass(frozen=True)
class Memory:
    """What the bank of a phase after the first is made of.

    Attributes:
        source: the phase from whose bank items are copied, from 1 on.
        keep: the share of its items, in their order; the current model draws the rest.
    """

    source: int
    keep: float


def memory(method: Static | Refresh, phase: int, risen: bool) -> Memory:
    """The memory of a phase.

    Args:
        method: of the stream.
        phase: from 2 on; the first phase has the bank that the pretrained model drew.
        risen: see `Refresh.rise`; without meaning where it is null.
    """
    if isinstance(method, Static):
        return Memory(1, 1.0)
    due = (phase - 1) % method.every == 0
    if due and (method.rise is None or risen):
        return Memory(1, method.keep)
    return Memory(phase - 1, 1.0)


def has_risen(before: Sequence[float], now: Sequence[float], rise: float) -> bool:
    """Whether an error by u lies above another one by a share, in any bin: `now` > (1 + rise) `before`."""
    return any(later > (1 + rise) * earlier for earlier, later in zip(before, now, strict=True))
