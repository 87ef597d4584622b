"""The pictures of finished runs in a report: what was drawn, what it was compared with, what the bank holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from difftuning.bank.read import Bank
from difftuning.errors import DataError
from difftuning.evaluation.features import extract
from difftuning.evaluation.fidelity import nearest_training
from difftuning.reporting.images import page_grid, page_strip
from difftuning.run_folder import RunFolder
from difftuning.workflows.diagnose import STRIP
from difftuning.workflows.drawing import images_of, spread
from difftuning.workflows.evaluate import SAMPLES
from difftuning.workflows.judge import Judge
from difftuning.workflows.runs import FinishedRun

COLUMNS, LINES = 9, 5
"""Of a grid of samples."""
PAIRS = 12
"""Samples that are shown with their nearest training image."""
SMALL = 64
"""Pixels of an image of the bank, of which many are shown."""


@dataclass
class RunPictures:
    """Pictures of runs over one target.

    Attributes:
        opened: one of the runs, whose target is shown, and whose model decodes banks.
        shown: column of the page -> the run whose samples stand there.
    """

    opened: FinishedRun
    shown: Mapping[str, Path]

    def __post_init__(self) -> None:
        self.judge = Judge(self.opened.recipe, self.opened.target)
        target, most = self.judge.target, self.opened.recipe.evaluation.references
        self.heldout, self.train = (target.pictures(part, most) for part in (target.heldout, target.train))
        self.drawn = {
            name: _read(RunFolder(run).samples / SAMPLES, f"difftuning evaluate {run}")["images"]
            for name, run in self.shown.items()
        }

    def grids(self) -> dict[str, bytes]:
        """Samples of each run from the same seeds, and held-out images beside them."""
        part = "held-out" if self.opened.recipe.evaluation.part is None else "left-over"
        shown = {f"{part} images of the target": self.heldout, **self.drawn}
        return {name: page_grid(_some(images, COLUMNS * LINES), COLUMNS) for name, images in shown.items()}

    def nearest(self, columns: Sequence[str]) -> dict[str, bytes]:
        """A line of samples, and under each the training image nearest to it in feature space.

        Args:
            columns: runs that train on the images of the opened one.
        """
        found = {}
        for name in columns:
            samples = _some(self.drawn[name], PAIRS)
            copies = self.train[nearest_training(extract(samples, self.judge.network), self.judge.training.features)]
            found[name] = page_grid(torch.cat([samples, copies]), len(samples))
        return found

    def strips(self, diagnoses: Mapping[str, Any]) -> dict[str, bytes]:
        """The denoiser swap of each run, a row a seed and a column a share."""
        return {name: page_strip(strip, shares) for name, (shares, strip) in self._swaps(diagnoses).items()}

    def shares(self, diagnoses: Mapping[str, Any]) -> list[tuple[float, dict[str, bytes]]]:
        """The same share by share: (share, run -> its samples at that share)."""
        swaps = self._swaps(diagnoses)
        every = sorted({share for shares, _ in swaps.values() for share in shares})
        return [
            (
                every_one,
                {
                    name: page_grid(strip[:, shares.index(every_one)], len(strip))
                    for name, (shares, strip) in swaps.items()
                    if every_one in shares
                },
            )
            for every_one in every
        ]

    def _swaps(self, diagnoses: Mapping[str, Any]) -> dict[str, tuple[list[float], Tensor]]:
        return {
            name: (
                [point["share"] for point in diagnoses[name]["swap"]],
                _read(run / STRIP, f"difftuning diagnose {run}")["strip"],
            )
            for name, run in self.shown.items()
            if name in diagnoses
        }

    def bank(self, folder: Path | None) -> tuple[bytes | None, list[tuple[str, str]]]:
        """Some of a bank and its card; nothing where there is none."""
        if folder is None:
            return None, []
        bank = Bank(folder)
        places = spread(len(bank), min(len(bank), 2 * COLUMNS * LINES))
        config = bank.card.config
        drawn = [
            ("drawn by", f"{config.solver}, {config.steps} steps, guidance {config.guidance:g}"),
            ("labels", config.labels),
        ]
        card = [
            ("items", str(len(bank))),
            *([("images of", str(config.images))] if config.images is not None else drawn),
            ("seed", str(config.seed)),
        ]
        return page_grid(images_of(self.opened.model, bank.get(places)), 2 * COLUMNS, SMALL), card


def _read(file: Path, command: str) -> dict[str, Tensor]:
    """The tensors of a file that a command writes."""
    if not file.is_file():
        raise DataError(f"{file} is missing; `{command}` makes it again")
    return load_file(file)


def _some(images: Tensor, count: int) -> Tensor:
    """At most `count` images from all over a set, which is ordered by class."""
    return images[spread(len(images), min(len(images), count))]
