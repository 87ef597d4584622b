"""Where the time of a step goes: the parts of a trainer, timed from outside, so that what is trained stays the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

import torch

from difftuning.training.interfaces import Streams
from difftuning.training.trainer import Trainer
from difftuning.types import Batch

P = ParamSpec("P")
R = TypeVar("R")

READ, FORWARD, BACKWARD, CLIP, OPTIMISER, AVERAGE = (
    "read data",
    "forward",
    "backward",
    "clip gradients",
    "optimiser",
    "average",
)
LOG, HOOKS, SAVE, REST = "log and display", "hooks", "checkpoints", "rest"
PARTS = (READ, FORWARD, BACKWARD, CLIP, OPTIMISER, AVERAGE, LOG, HOOKS, SAVE, REST)
"""In the order of a step; the rest is what the loop does between them."""


class StepProfile:
    """Times the parts of a trainer from when it is made on.

    A part that asks another one is not charged for it. A GPU is waited for at each border, so that its work counts where it was
    asked for; that makes the run a little slower, and nothing else.

    Args:
        trainer: whose parts are timed; it trains as before.

    Attributes:
        steps: begun since then.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._cuda = trainer.device.type == "cuda"
        self.steps = 0
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._inside: list[str] = [REST]
        trainer.streams = _Timed(trainer.streams, self)
        trainer.hooks = [replace(hook, action=self.timed(hook.action, HOOKS)) for hook in trainer.hooks]
        for owner, method, part in (
            (trainer.passes, "asked", FORWARD),
            (trainer.passes, "backward", BACKWARD),
            (trainer.passes, "clip", CLIP),
            (trainer.passes, "update", OPTIMISER),
            (trainer.ema, "update", AVERAGE),
            (trainer.log, "write", LOG),
            (trainer, "progress", LOG),
            (trainer, "save", SAVE),
            (trainer, "resume", SAVE),
        ):
            setattr(owner, method, self.timed(getattr(owner, method), part))
        self._since = time.perf_counter()

    def timed(self, function: Callable[P, R], part: str) -> Callable[P, R]:
        """A function whose time counts for a part."""

        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            self._pass()
            self._inside.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._pass()
                self._inside.pop()

        return run

    def _pass(self) -> None:
        """Charge the time since the last border to the part that it was spent in."""
        if self._cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._seconds[self._inside[-1]] += now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds by part since the profile was made."""
        self._pass()
        return dict(self._seconds)

    def table(self) -> list[tuple[str, float | None, float]]:
        """A row a part: its name, milliseconds a step (None before the first step), and its share of all in per cent."""
        seconds, steps = self.read(), self.steps
        whole = sum(seconds.values())
        rows = [*seconds.items(), ("all", whole)]
        return [(name, 1000 * spent / steps if steps else None, 100 * spent / whole) for name, spent in rows]


class _Timed:
    """Streams whose reading is timed."""

    def __init__(self, streams: Streams, profile: StepProfile) -> None:
        self._profile, self._batch = profile, profile.timed(streams.batch, READ)

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        """The batch of a step."""
        self._profile.steps += 1
        return self._batch(step, positions)
