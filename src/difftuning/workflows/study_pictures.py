"""What the runs of a study draw, as pictures beside its page: PAGES/STUDY-TARGET-METHOD.png."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from difftuning.atomic import write_bytes
from difftuning.data.tensors import write_tensors
from difftuning.json_files import read_json
from difftuning.reporting.images import at_size, image_grid, image_strip
from difftuning.reporting.study_page import HELD_OUT, picture_name
from difftuning.studies.base import Cell, Study
from difftuning.workflows.diagnose import FILE, STRIP
from difftuning.workflows.drawing import spread
from difftuning.workflows.evaluate import Measured, judged_on
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import FinishedRun

SHOWN = 12
"""Pictures in a line."""
SIDE = 64
"""Pixels of each."""


def keep_samples(run: FinishedRun, made: Recipe, found: Measured, judged: Path) -> None:
    """A line of what a run drew, and one of held-out images of the same classes, in the same order."""
    target = judged_on(made, run.target)
    chosen = found.images[spread(len(found.images), SHOWN)]
    heldout = target.pictures(target.heldout, SHOWN)
    write_tensors(_samples(judged), {"samples": chosen.contiguous(), "heldout": heldout.contiguous()})


def draw_pictures(one: Study, cell: Cell, made: Recipe, judged: Path, pages: Path) -> None:
    """The pictures of a cell, if the study shows any and its run is here; without the run, those that lie there stay."""
    target = made.data.target
    if one.swap and (made.folder / STRIP).is_file():
        shares = [point["share"] for point in read_json(made.folder / FILE)["swap"]]
        strip = torch.stack([at_size(row, SIDE) for row in load_file(made.folder / STRIP)["strip"]])
        _write(pages / picture_name(one.name, target, cell.method), image_strip(strip, shares, scale=1, gap=4))
    elif one.pictures and _samples(judged).is_file():
        for name, images in load_file(_samples(judged)).items():
            method = cell.method if name == "samples" else HELD_OUT
            png = image_grid(at_size(images, SIDE), SHOWN, scale=1, gap=4)
            _write(pages / picture_name(one.name, target, method), png)


def _samples(judged: Path) -> Path:
    return judged.with_suffix(".safetensors")


def _write(path: Path, png: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, png)
