"""`evaluate`: judge a finished run on held-out images of its target, and write result rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.bank.read import Bank
from difftuning.config.provenance import provenance
from difftuning.data.cache import cache_folder
from difftuning.data.target import Target, open_target
from difftuning.evaluation.drift import weight_drift
from difftuning.evaluation.features import FeatureNetwork, cached, extract, feature_network, to_uint8
from difftuning.evaluation.fidelity import compare
from difftuning.results import MetricsLog, Row, RunFolder, write_results
from difftuning.workflows.assemble import chain_of, open_bank, pretrained
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.drawing import draw_images
from difftuning.workflows.heldout import HeldOut, bank_heldout, target_heldout
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import model_of, recipe_of

SAMPLES = "evaluated.safetensors"
"""In the samples folder of a run: the images that were judged."""


def method_of(recipe: Recipe) -> str:
    """The name of a recipe's method in result rows."""
    psi = recipe.coefficients.psi
    plain = psi.kind == "power" and psi.tau == 0 and recipe.coefficients.xi is None
    return "finetune" if plain else "diff-tuning"


def evaluate(run: Path, display: Display | None = None) -> dict[str, Any]:
    """Draw samples from a run, compare them with held-out images, and write `results.json`.

    Returns:
        `{"rows": [...], "warning": ...}`.

    Raises:
        CheckpointError: the run is not finished.
    """
    display = display or Silent()
    folder, recipe, model = RunFolder(run), recipe_of(run), model_of(run)
    before = pretrained(recipe)
    model.to(before.device)
    target = open_target(recipe.data, model.image_size, model.codec)
    rows_of_classes = torch.tensor([model.labels.index(name) for name in target.class_names])
    network = feature_network(recipe.evaluation.network, recipe.evaluation.weights)
    judged = Judged(recipe, target, network)
    images = judged.draw(model, rows_of_classes, display)
    (folder.samples).mkdir(exist_ok=True)
    save_file({"images": images}, folder.samples / SAMPLES)
    values, warning = judged.distances(images, model, display)
    values |= {"drift": sum(weight_drift(_parameters(before), _parameters(model)).values())}
    bank = open_bank(recipe, before) if chain_of(recipe, before).uses_bank else None
    step = recipe.training.steps
    rows = [judged.row(method_of(recipe), metric, value, step) for metric, value in values.items()]
    rows += heldout_rows(judged, model, rows_of_classes, bank, step, MetricsLog(folder.metrics))
    written = provenance()
    write_results(folder.results, rows, written["machine"], written["commit"], recipe.model_dump(mode="json"))
    return {"rows": [row.model_dump(mode="json") for row in rows], "warning": warning}


def _parameters(backbone: Backbone) -> Mapping[str, Tensor]:
    return dict(backbone.network.named_parameters())


class Judged:
    """Held-out and training images of a target with their features, against which any samples are judged.

    Args:
        recipe: its evaluation and sampling settings.
        target: the images.
        network: the feature network.
    """

    def __init__(self, recipe: Recipe, target: Target, network: FeatureNetwork) -> None:
        self.recipe, self.target, self.network = recipe, target, network

    def draw(self, model: Backbone, rows: Tensor, display: Display) -> Tensor:
        """As many samples as the recipe says, their classes in the proportions of the held-out images."""
        count = self.recipe.evaluation.samples
        labels = rows[self.target.heldout.labels]
        with display.progress(f"samples of {self.recipe.name}", count) as task:
            return draw_images(model, labels[torch.arange(count) % len(labels)], self.recipe.sampling, task.advance)

    def distances(self, images: Tensor, model: Backbone, display: Display) -> tuple[dict[str, float], str | None]:
        """Distances, precision, recall and memorised share of (N, 3, H, W) uint8 images, and what to say beside them."""
        real, training = self._real(model, self.target.heldout.latents), self._real(model, self.target.train.latents)
        with display.progress(f"features of {self.recipe.name}", len(images)) as task:
            features = extract(images, self.network, task.advance)
        found = compare(
            features,
            cached(real, self.network, cache_folder() / "features"),
            cached(training, self.network, cache_folder() / "features"),
        )
        values = {name: float(value) for name, value in asdict(found).items() if name not in ("samples", "real")}
        if self.network.is_fid:
            values["fid"] = values.pop("frechet")
        return values, found.warning()

    def _real(self, model: Backbone, latents: Tensor) -> Tensor:
        return to_uint8(model.codec.decode(latents.to(model.device))).cpu()

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


def heldout_rows(
    judged: Judged, model: Backbone, rows: Tensor, bank: Bank | None, step: int, log: MetricsLog
) -> list[Row]:
    """The held-out error by u on target and bank, their means, and the best checkpoint's mean from the log."""
    draws, method = judged.recipe.evaluation.heldout_draws, method_of(judged.recipe)
    where: dict[str, HeldOut] = {"heldout": target_heldout(judged.target.heldout, rows, model, draws)}
    if bank is not None:
        where["heldout_bank"] = bank_heldout(bank, model, draws)
    found = []
    for metric, place in where.items():
        curve = place.curve(model)
        found.append(judged.row(method, metric, curve.mean, step, n=draws))
        for u, error in zip(curve.u.tolist(), curve.error.tolist(), strict=True):
            found.append(judged.row(method, f"{metric}_by_u", error, step, {"u": round(u, 4)}, n=draws))
    logged = [record for record in log.read().records if "heldout" in record]
    if logged:
        best = min(logged, key=lambda record: float(record["heldout"]))
        found.append(judged.row(method, "heldout_best", float(best["heldout"]), int(best["step"]), n=draws))
    return found
