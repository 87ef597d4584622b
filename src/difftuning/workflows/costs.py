"""What the stages of a run around its steps took, in seconds on the wall clock: `costs.json` in its folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from difftuning.json_files import read_json, write_json
from difftuning.processes import present
from difftuning.reporting.costs import BANK
from difftuning.run_folder import RunFolder

EVALUATION, DIAGNOSIS = "evaluation", "diagnosis"
__all__ = ["BANK", "DIAGNOSIS", "EVALUATION", "read", "timed"]


@contextmanager
def timed(folder: RunFolder, stage: str, adds: bool = False) -> Iterator[None]:
    """Note how long what is done within takes, whole or, where it adds up, as far as it came.

    Args:
        folder: of the run.
        stage: what is done.
        adds: it goes on with what was begun, so that its parts add up; else the last time counts.
    """
    began = time.monotonic()
    whole = False
    try:
        yield
        whole = True
    finally:
        if (adds or whole) and present().main:  # which may be alone in ending here
            _note(folder, stage, time.monotonic() - began, adds)


def _note(folder: RunFolder, stage: str, spent: float, adds: bool) -> None:
    found = read(folder)
    before = found.get(stage, 0.0) if adds else 0.0
    write_json(folder.make().costs, {**found, stage: round(before + spent, 2)})


def read(folder: RunFolder) -> dict[str, float]:
    """Stage -> seconds; empty where nothing was noted."""
    return dict(read_json(folder.costs)) if folder.costs.is_file() else {}
