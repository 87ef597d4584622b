"""What the stages of a run around its steps took, in seconds on the wall clock: `costs.json` in its folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from difftuning.json_files import read_json, write_json
from difftuning.processes import present
from difftuning.run_folder import RunFolder

BANK, EVALUATION, DIAGNOSIS = "drawing the bank", "evaluation", "diagnosis"


@contextmanager
def timed(folder: RunFolder, stage: str) -> Iterator[None]:
    """Note how long what is done within takes; of a stage that is done again, the last time counts."""
    began = time.monotonic()
    yield
    spent = time.monotonic() - began

    def write() -> None:
        write_json(folder.costs, {**read(folder), stage: round(spent, 2)})

    present().on_main(write)


def read(folder: RunFolder) -> dict[str, float]:
    """Stage -> seconds; empty where nothing was noted."""
    return dict(read_json(folder.costs)) if folder.costs.is_file() else {}
