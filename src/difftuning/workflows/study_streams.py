"""The cells of a study that are streams: each in a folder that its content decides, as a single run has one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from difftuning.continual.stream import Stream
from difftuning.results import Row, read_rows
from difftuning.studies.base import Cell
from difftuning.workflows import phases
from difftuning.workflows.continual import RESULTS, continual
from difftuning.workflows.display import Display
from difftuning.workflows.recipe import Recipe


def placed_stream(cell: Cell, folder: Path, digest: Callable[[Recipe, str], str]) -> Stream:
    """The stream of a cell, below a folder.

    Args:
        cell: of which `stream` is set.
        folder: of all streams.
        digest: of the pretrained model of a recipe together with a text.
    """
    name, *overrides = cell.stream
    stream = phases.load(name, overrides, [*cell.overrides, f"seed={cell.seed}"])
    own = digest(phases.recipes_of(stream)[0], phases.identity_of(stream))
    return stream.model_copy(update={"out": str(folder / own)})


def stream_rows(stream: Stream, display: Display) -> list[Row]:
    """The rows of a stream, which is run where it is not finished."""
    out = Path(stream.out)
    if not (out / RESULTS).is_file():
        continual(stream, display)
    # The models stay; checkpoints of so many phases would fill a disk.
    for checkpoints in out.glob("phase-*/checkpoints"):
        shutil.rmtree(checkpoints)
    return read_rows(out / RESULTS)
