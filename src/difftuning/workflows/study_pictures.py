"""What the runs of a study draw, as pictures beside its page, named by their cells: PAGES/STUDY-CELL.png."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from difftuning.atomic import write_bytes
from difftuning.data.tensors import write_tensors
from difftuning.json_files import read_json
from difftuning.reporting.images import page_grid, page_strip
from difftuning.reporting.study_page import HELD_OUT, picture_name
from difftuning.studies.base import Study
from difftuning.workflows.drawing import spread
from difftuning.workflows.evaluate import Measured
from difftuning.workflows.judge import judged_on
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import FinishedRun
from difftuning.workflows.study_swap import swap_files

SHOWN = 12
"""Pictures in a line."""
SIDE = 64
"""Pixels of each."""


def keep_samples(run: FinishedRun, made: Recipe, found: Measured, judged: Path) -> None:
    """Keep a line of what a run drew, and one of held-out images, each of the class of the sample below it."""
    heldout = judged_on(made, run.target).heldout
    chosen = spread(len(found.images), SHOWN)
    beside = heldout.subset(chosen * len(heldout) // len(found.images))
    tensors = {"samples": found.images[chosen], HELD_OUT: run.target.pictures(beside)}
    write_tensors(_kept(judged), {name: images.contiguous() for name, images in tensors.items()})


def draw_pictures(one: Study, key: str, judged: Path, pages: Path) -> None:
    """The pictures of a cell whose run is here; those that are drawn already stay."""
    if not (pages / picture_name(one.name, key)).is_file():
        for name, png in (_strip(judged) if one.swap else _lines(judged)).items():
            write_bytes(pages / picture_name(one.name, key, name), png)


def _strip(judged: Path) -> dict[str, bytes]:
    curve, strip = swap_files(judged)
    if not curve.is_file() or not strip.is_file():
        return {}
    shares = [point["share"] for point in read_json(curve)["swap"]]
    return {"": page_strip(load_file(strip)["strip"], shares, SIDE)}


def _lines(judged: Path) -> dict[str, bytes]:
    if not _kept(judged).is_file():
        return {}
    kept = load_file(_kept(judged))
    # The cell's own comes last: where it lies, both do.
    return {name: page_grid(kept[key], SHOWN, SIDE) for name, key in ((HELD_OUT, HELD_OUT), ("", "samples"))}


def _kept(judged: Path) -> Path:
    return judged.with_suffix(".safetensors")
