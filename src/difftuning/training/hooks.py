"""What happens at intervals during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hook:
    """An action every so many steps, with the averaged weights in place.

    Attributes:
        every: in steps; 0 never.
        action: gets the number of steps done and returns metrics to log, by name, numbers or lists; it must not change the model.
        at_start: also before the first step.
        at_end: also after the last one, if it is not due anyway.
    """

    every: int
    action: Callable[[int], Mapping[str, Any]]
    at_start: bool = False
    at_end: bool = True

    def due(self, step: int, steps: int) -> bool:
        """Whether it runs after `step` of `steps` steps."""
        if step == 0:
            return self.at_start and self.every > 0
        return self.every > 0 and (step % self.every == 0 or (self.at_end and step == steps))
