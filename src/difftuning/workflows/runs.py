"""Opening what a finished run wrote, for sampling, evaluation, diagnosis and the report."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.interpolation import Interpolated
from difftuning.backbones.labels import target_rows
from difftuning.backbones.loading import load
from difftuning.coefficients.families import build
from difftuning.config.loading import load_recipe
from difftuning.config.validate import validate
from difftuning.data.target import Target, open_target
from difftuning.errors import CheckpointError
from difftuning.results import RunFolder
from difftuning.workflows.assemble import pretrained
from difftuning.workflows.recipe import Recipe, SamplingConfig


@dataclass(frozen=True)
class FinishedRun:
    """A run whose training is done.

    Attributes:
        recipe: what it was made from.
        folder: where it lives.
        before: the pretrained model, with its own labels.
        model: the averaged model, on the same device.
        target: the images, split.
        rows: (K,) int64, the model's row of each target class.
    """

    recipe: Recipe
    folder: RunFolder
    before: Backbone
    model: Backbone
    target: Target
    rows: Tensor


def open_run(run: Path) -> FinishedRun:
    """Everything of a finished run.

    Raises:
        CheckpointError: there is no such run, or its training has not finished.
    """
    recipe, model = recipe_of(run), model_of(run)
    before = pretrained(recipe)
    model.to(before.device)
    target = open_target(recipe.data, model.image_size, model.codec)
    rows = target_rows(recipe.labels, model.labels, target.class_names)
    return FinishedRun(recipe, RunFolder(run), before, model, target, rows)


def drawn_from(model: Backbone, before: Backbone, recipe: Recipe, sampling: SamplingConfig) -> Backbone:
    """What the samples of a run are drawn from: its model, or weights between it and the pretrained one.

    Args:
        model: of the run.
        before: the pretrained model, with its own labels.
        recipe: of the run.
        sampling: how to draw.
    """
    if sampling.interpolation is None:
        return model
    start = copy.deepcopy(before)
    start.change_labels(recipe.labels, model.labels.names)
    return Interpolated(start, model, build(sampling.interpolation, model.process, model.clock))


def recipe_of(run: Path) -> Recipe:
    """The recipe saved in a run folder, pointing at where the folder is now."""
    folder = RunFolder(run).require()
    return validate(Recipe, load_recipe(folder.recipe)).model_copy(update={"out": str(run)})


def model_of(run: Path) -> Backbone:
    """The averaged model of a finished run.

    Raises:
        CheckpointError: the training has not finished.
    """
    folder = run / "model"
    if not (folder / "model_index.json").is_file():
        raise CheckpointError(f"run {run} has no model yet; finish it with `difftuning train {run / 'recipe.yaml'}`")
    return load(str(folder))
