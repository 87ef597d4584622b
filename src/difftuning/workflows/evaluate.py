"""`evaluate`: judge a finished run on held-out images of its target, and write result rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.config.provenance import provenance
from difftuning.data.latents import LatentSet
from difftuning.data.target import Target
from difftuning.data.tensors import write_tensors
from difftuning.evaluation import fidelity
from difftuning.evaluation.features import FeatureNetwork, feature_network
from difftuning.evaluation.fidelity import Measures, Reference
from difftuning.json_files import MetricsLog
from difftuning.results import Row, write_results
from difftuning.run_folder import RunFolder
from difftuning.workflows.assemble import device_of, open_heldout_bank
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.drawing import draw_images
from difftuning.workflows.drift import drift_of
from difftuning.workflows.heldout import HeldOut, bank_heldout, target_heldout
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import FinishedRun, drawn_from, open_run

SAMPLES = "evaluated.safetensors"
"""In the samples folder of a run: the images that were judged."""
PASS = 64
"""Images between two movements of the bar."""


def method_of(recipe: Recipe) -> str:
    """The name of a recipe's method in result rows."""
    psi = recipe.coefficients.psi
    one = (psi.kind == "power" and psi.tau == 0) or (psi.kind == "constant" and psi.value == 1)
    return "finetune" if one and recipe.coefficients.xi is None else "diff-tuning"


def evaluate(path: Path, display: Display | None = None) -> dict[str, Any]:
    """Draw samples from a run, compare them with held-out images, and write `results.json`.

    Returns:
        `{"rows": [...], "warning": ...}`.

    Raises:
        CheckpointError: the run is not finished, or its model is not what was written.
        BusyError: another process is at work on the run folder.
    """
    with RunFolder(path).require().alone():
        run = open_run(path)
        found = measure(run, run.recipe, display or Silent())
        write_tensors(run.folder.samples / SAMPLES, {"images": found.images})
        written = provenance()
        recipe = run.recipe.model_dump(mode="json")
        write_results(run.folder.results, found.rows, written["machine"], written["commit"], recipe)
    return {"rows": [row.model_dump(mode="json") for row in found.rows], "warning": found.warning}


@dataclass(frozen=True)
class Measured:
    """What was found of a run.

    Attributes:
        rows: the numbers.
        images: the samples that were judged, (N, 3, H, W) uint8.
        warning: what to say beside the distance at so many images, if anything.
    """

    rows: list[Row]
    images: Tensor
    warning: str | None


def measure(run: FinishedRun, recipe: Recipe, display: Display) -> Measured:
    """Judge a run by the sampling and evaluation settings of a recipe, which may differ from those it was trained with.

    Interpolated weights have neither a drift nor a past of their own.
    """
    step = recipe.training.steps
    judge = Judge(recipe, run.target)
    drawn = drawn_from(run, recipe.sampling)
    own = drawn is run.model
    images = judge.draw(drawn, run.rows, display, run.before)
    measures = judge.distances(images, display)
    values = {**measures, **(drift_of(run, recipe.evaluation.fisher_draws) if own else {})}
    rows = [judge.row(method_of(recipe), metric, value, step) for metric, value in values.items()]
    rows += heldout_rows(judge, replace(run, model=drawn), step, MetricsLog(run.folder.metrics) if own else None)
    return Measured(rows, images, measures.warning)


@dataclass
class Judge:
    """Held-out and training images of a target, against which any samples are judged.

    Attributes:
        recipe: its evaluation and sampling settings.
        target: the images.
        network: the feature network of the recipe.
    """

    recipe: Recipe
    target: Target
    network: FeatureNetwork = field(init=False)

    def __post_init__(self) -> None:
        self.network = feature_network(self.recipe.evaluation.network, self.recipe.evaluation.weights)
        self.network.network.to(device_of(self.recipe.device))

    @cached_property
    def heldout(self) -> Reference:
        """The held-out images."""
        return self._reference(self.target.heldout)

    @cached_property
    def training(self) -> Reference:
        """The training images."""
        return self._reference(self.target.train)

    def _reference(self, part: LatentSet) -> Reference:
        return Reference.of(self.target.pictures(part, self.recipe.evaluation.references), self.network)

    def labels(self, rows: Tensor, count: int) -> Tensor:
        """(count,) rows of the model's table, the classes in the proportions of the held-out images."""
        labels = rows[self.target.heldout.labels]
        return labels[torch.arange(count) * len(labels) // count]

    def draw(self, model: Backbone, rows: Tensor, display: Display, before: Backbone | None = None) -> Tensor:
        """As many samples as the recipe says; `before` is the pretrained model, for domain guidance."""
        count = self.recipe.evaluation.samples
        with display.progress(f"samples of {self.recipe.name}", count) as task:
            return draw_images(model, self.labels(rows, count), self.recipe.sampling, task.advance, before)

    def distances(self, images: Tensor, display: Display) -> Measures:
        """Distances, precision, recall and memorised share of (N, 3, H, W) uint8 images."""
        with display.progress(f"features of {self.recipe.name}", len(images)) as task:

            def passing() -> Any:
                for part in torch.split(images, PASS):
                    yield part
                    task.advance(len(part))

            return fidelity.evaluate(passing(), self.heldout, self.training, self.network)

    def row(
        self,
        method: str,
        metric: str,
        value: float,
        step: int,
        setting: dict[str, Any] | None = None,
        n: int | None = None,
    ) -> Row:
        """One result row of this target."""
        over_network = metric in ("frechet", "fid", "kid", "precision", "recall", "memorised")
        return Row(
            study=self.recipe.name.split("/")[0],
            target=self.recipe.data.target,
            method=method,
            tuner=self.recipe.tuner.kind,
            setting=setting or {},
            seed=self.recipe.seed,
            step=step,
            metric=metric,
            value=value,
            network=self.network.name if over_network else None,
            n=self.recipe.evaluation.samples if over_network else n,
        )


def heldout_rows(judge: Judge, run: FinishedRun, step: int, log: MetricsLog | None) -> list[Row]:
    """The held-out error by u on target and bank, their means, and the mean while training and at its best, if there is a log."""
    draws, method = judge.recipe.evaluation.heldout_draws, method_of(judge.recipe)
    where: dict[str, HeldOut] = {"heldout": target_heldout(judge.target.heldout, run.rows, run.model, draws)}
    if (bank := open_heldout_bank(run.recipe, run.before)) is not None:
        where["heldout_bank"] = bank_heldout(bank, run.model, draws)
    found = []
    for metric, place in where.items():
        curve = place.curve(run.model)
        found.append(judge.row(method, metric, curve.mean, step, n=draws))
        for u, error in zip(curve.u.tolist(), curve.error.tolist(), strict=True):
            found.append(judge.row(method, f"{metric}_by_u", error, step, {"u": round(u, 4)}, n=draws))
    logged = [] if log is None else [record for record in log.read().records if "heldout" in record]
    for record in logged:
        found.append(judge.row(method, "heldout_curve", float(record["heldout"]), int(record["step"]), n=draws))
    if logged:
        best = min(logged, key=lambda record: float(record["heldout"]))
        found.append(judge.row(method, "heldout_best", float(best["heldout"]), int(best["step"]), n=draws))
    return found
