"""What the loop asks of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from difftuning.types import Batch, Errors


class Objective(Protocol):
    """What the loop minimises."""

    def __call__(self, batch: Batch, /) -> Errors:
        """The error of each sample."""
        ...


class Streams(Protocol):
    """The two streams of data as one pure function of (step, positions)."""

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        """The batch of a step; `positions` count the target and the bank items used before it."""
        ...


class Log(Protocol):
    """Where metrics go."""

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Record the metrics of a step."""
        ...

    def rewind(self, step: int) -> None:
        """Forget what was recorded after a step, which is about to be repeated."""
        ...


class Kept(Protocol):
    """What a run goes on with besides its tensors, its step and its positions."""

    def state(self) -> Any:
        """What a checkpoint keeps of it, as JSON."""
        ...

    def take(self, state: Any) -> None:
        """Go on from what a checkpoint kept; None where it kept nothing."""
        ...
