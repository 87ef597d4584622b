"""tensorboard and wandb beside `metrics.jsonl`, through accelerate's trackers; the file is always written and stays the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from difftuning.errors import ConfigError
from difftuning.training.interfaces import Log

TrackerName = Literal["tensorboard", "wandb"]
"""What metrics can be sent to; each is an extra of the same name."""
NAMES: tuple[str, ...] = get_args(TrackerName)
PROJECT = "difftuning"
"""The project that wandb files its runs under."""


def check_installed(names: Sequence[TrackerName]) -> None:
    """Raise a `ConfigError` with the mend where the package of a tracker is missing."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"trackers={name} needs the extra: pip install 'difftuning[{name}]', or leave it out")


def open_trackers(names: Sequence[TrackerName], folder: Path, run_name: str) -> list[GeneralTracker]:
    """Started trackers.

    Args:
        names: which.
        folder: of the run: tensorboard writes to `tensorboard` within it, wandb to `wandb`.
        run_name: as wandb shows it.

    Raises:
        ConfigError: the package of a tracker is not installed.
    """
    check_installed(names)
    made: list[GeneralTracker] = []
    for name in names:
        tracker = (
            TensorBoardTracker(name, logging_dir=folder)
            if name == "tensorboard"
            else WandBTracker(PROJECT, name=run_name, dir=str(folder))
        )
        tracker.start()
        made.append(tracker)
    return made


class Unwritten:
    """The log of a process that writes none, because another one does."""

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Nothing is written."""

    def rewind(self, step: int) -> None:
        """Nothing is there."""


class TrackedLog:
    """A log whose metrics also go to trackers.

    Args:
        log: the record.
        trackers: get the same metrics. They cannot forget: after a resume they show the repeated steps twice.
    """

    def __init__(self, log: Log, trackers: Sequence[GeneralTracker]) -> None:
        self.log, self.trackers = log, tuple(trackers)

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Record the metrics of a step everywhere; trackers draw numbers, and not lists of them."""
        self.log.write(step, metrics)
        numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        for tracker in self.trackers:
            tracker.log(numbers, step=step)

    def rewind(self, step: int) -> None:
        """Forget the record after a step."""
        self.log.rewind(step)

    def finish(self) -> None:
        """Send what is still waiting."""
        for tracker in self.trackers:
            tracker.finish()
