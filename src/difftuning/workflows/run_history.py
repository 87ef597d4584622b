"""What the folder of a run tells without its model being opened: curves, grids of samples, costs. One that goes on tells it too."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError

from difftuning.json_files import MetricsLog, read_json
from difftuning.reporting.images import as_png
from difftuning.results import Row, read_rows
from difftuning.run_folder import RunFolder
from difftuning.training.checkpoints import Checkpoints
from difftuning.workflows import costs
from difftuning.workflows.diagnose import FILE as DIAGNOSIS
from difftuning.workflows.evaluate import LAYER_DRIFT
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import is_finished, recipe_of

WIDEST = 1100
"""Pixels of a grid of samples on the page; one of large images is made smaller."""
MOST_GRIDS = 12
"""Of one run on the page; more of them are shown from all over the training."""


@dataclass(frozen=True)
class RunHistory:
    """The history of one run.

    Attributes:
        path: the run folder.
        recipe: what it is made from.
    """

    path: Path
    recipe: Recipe
    folder: RunFolder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", RunFolder(self.path))

    @classmethod
    def of(cls, path: Path) -> RunHistory:
        """The history of a run folder.

        Raises:
            CheckpointError: it is none.
        """
        return cls(path, recipe_of(path))

    @property
    def finished(self) -> bool:
        """Whether its training has ended."""
        return is_finished(self.recipe)

    @property
    def evaluated(self) -> bool:
        """Whether it has been judged as it is now: not with another average, or drawn in another way."""
        if not self.finished or not self.folder.results.is_file():
            return False
        return self._is_of_now(lambda: Recipe.model_validate(read_json(self.folder.results)["recipe"]).judged())

    def items(self, metric: str) -> str | None:
        """What tells the items that a metric was measured on from others; None where it was not, or by an earlier version."""
        told = (f"{row.against}/{row.real}" for row in self.rows if row.metric == metric and row.against is not None)
        return next(told, None)

    @cached_property
    def diagnosis(self) -> dict[str, Any] | None:
        """What `diagnose` found of it as it is now; None where it did not look."""
        file = self.path / DIAGNOSIS
        if not file.is_file() or not self._is_of_now(lambda: str(read_json(file)["judged"])):
            return None
        found: dict[str, Any] = read_json(file)
        return found

    def _is_of_now(self, of: Callable[[], str]) -> bool:
        """Files of an earlier version do not tell what they are of, and are taken as they are."""
        try:
            return of() == self.recipe.judged()
        except (KeyError, ValidationError):
            return True

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """What was logged while it trained."""
        return MetricsLog(self.folder.metrics).read().records

    @cached_property
    def rows(self) -> list[Row]:
        """Its result rows; none before it was judged."""
        return read_rows(self.folder.results) if self.evaluated else []

    @property
    def step(self) -> int:
        """The last step that it tells of."""
        return max((int(record["step"]) for record in self.records), default=0)

    def points(self, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a metric of the log."""
        return [
            (int(record["step"]), float(record[metric])) for record in self.records if record.get(metric) is not None
        ]

    def grids(self, kind: str = "step") -> dict[int, bytes]:
        """Step -> the picture drawn at it, as PNG: `step` for grids of samples, `control-step` for maps with theirs."""
        named = f"{kind}-"
        told = {path.stem.removeprefix(named): path for path in self.folder.samples.glob(f"{named}*.png")}
        files = {int(step): path for step, path in told.items() if step.isdecimal()}
        steps = sorted(files)
        kept = (
            {steps[index * (len(steps) - 1) // max(1, MOST_GRIDS - 1)] for index in range(MOST_GRIDS)} if steps else ()
        )
        shown = {step: _no_wider(files[step]) for step in sorted(kept)}
        return {step: png for step, png in shown.items() if png is not None}

    def layer_drift(self) -> dict[str, float]:
        """Layer -> squared distance from the pretrained weights; empty where it was not measured."""
        return {str(row.setting["layer"]): row.value for row in self.rows if row.metric == LAYER_DRIFT}

    def seconds(self) -> dict[str, float]:
        """Stage -> what it took: optimiser steps over all sessions, up to the last checkpoint, and what `costs` keeps besides."""
        last, others = Checkpoints(self.folder.checkpoints).last(), costs.read(self.folder)
        steps = {} if last is None else {"training steps": float(read_json(last / "state.json")["seconds"])}
        drawn = {stage: spent for stage, spent in others.items() if stage == costs.BANK}
        return drawn | steps | {stage: spent for stage, spent in others.items() if stage != costs.BANK}

    def machine(self) -> list[tuple[str, str]]:
        """What it ran on, in short pairs."""
        if not self.folder.provenance.is_file():
            return []
        found: Mapping[str, Any] = read_json(self.folder.provenance)
        machine, versions = found["machine"], found["versions"]
        return [
            ("processor", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"),
            ("device", machine["device"]),
            *((name, versions[name]) for name in ("difftuning", "torch", "diffusers") if name in versions),
        ]


def _no_wider(file: Path) -> bytes | None:
    """A picture as PNG; None where a file is none, as one that a kill left half written by an earlier version."""
    png = file.read_bytes()
    try:
        image = Image.open(io.BytesIO(png))
        if image.width <= WIDEST:
            return png
        return as_png(image.resize((WIDEST, image.height * WIDEST // image.width), Image.Resampling.LANCZOS))
    except (OSError, Image.DecompressionBombError):
        return None
