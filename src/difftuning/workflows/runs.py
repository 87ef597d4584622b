"""Opening what a finished run wrote, for sampling, evaluation, diagnosis and the report."""

from __future__ import annotations

import copy
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.interpolation import Interpolated
from difftuning.backbones.labels import target_rows
from difftuning.backbones.loading import load
from difftuning.backbones.switched_off import SwitchedOff
from difftuning.checksums import check_sums
from difftuning.coefficients.families import build
from difftuning.config.loading import load_recipe
from difftuning.config.validate import validate
from difftuning.data.target import Target
from difftuning.errors import CheckpointError, DataError, ModelError
from difftuning.json_files import read_json
from difftuning.run_folder import RunFolder
from difftuning.tuning import Tuner
from difftuning.tuning import build as build_tuner
from difftuning.tuning.store import SETTINGS, read_tuner
from difftuning.workflows.assemble import target_of, trained_besides
from difftuning.workflows.controls import Controls
from difftuning.workflows.device_memory import left, place
from difftuning.workflows.pretrained import configured, pretrained
from difftuning.workflows.recipe import Recipe, SamplingConfig
from difftuning.workflows.run_identity import DATA, data_digest


@dataclass(frozen=True)
class Models:
    """What a finished run began with and ended with.

    Attributes:
        recipe: what it was made from.
        model: the averaged model.
        before: the pretrained one, with its own labels, on the same device.
        tuner: what the model was tuned with, if it can be switched off; then the two share their weights.
    """

    recipe: Recipe
    model: Backbone
    before: Backbone
    tuner: Tuner | None

    def plain(self, device: torch.device | None = None) -> tuple[Backbone, Backbone]:
        """The pretrained model and that of the run, each with ordinary weights of its own.

        Args:
            device: where those are loaded that are not there yet; None for where the model is.

        Raises:
            ModelError: what was learned cannot be folded into ordinary weights.
        """
        if self.tuner is None:
            return self.before, self.model
        if not self.tuner.mergeable:
            raise ModelError(
                f"what {self.recipe.tuner.kind} learned in {self.recipe.folder} cannot be folded into ordinary weights; "
                "set sampling.interpolation to null, or tune all weights"
            )
        before = pretrained(self.recipe, device)
        return before, configured(load(str(_whole(RunFolder(self.recipe.folder).model))), self.recipe).to(before.device)


@dataclass(frozen=True)
class FinishedRun(Models):
    """A run whose training is done.

    Attributes:
        folder: where it lives.
        target: the images, split.
        controls: their maps; None where no ControlNet was trained.
        rows: (K,) int64, the model's row of each target class.
    """

    folder: RunFolder
    target: Target
    controls: Controls | None
    rows: Tensor


def open_run(run: Path) -> FinishedRun:
    """Everything of a finished run.

    Raises:
        CheckpointError: there is no such run, or its training has not finished.
        DataError: its target has other images now, some of them trained on and held out, perhaps.
    """
    recipe = recipe_of(run)
    models = models_of(recipe)
    model = models.model
    target, controls = target_of(recipe, model)
    if ended(recipe).get(DATA) not in (None, data_digest(target, controls)):
        raise DataError(
            f"{recipe.data.target} has other images to train on now than when {run} was trained on it, so what is held out now may "
            "have been learned; give it back the images that it had, or train again with another `out`"
        )
    rows = target_rows(recipe.labels, model.labels, target.class_names)
    return FinishedRun(**vars(models), folder=RunFolder(run), target=target, controls=controls, rows=rows)


def is_finished(recipe: Recipe) -> bool:
    """Whether the training of a recipe has written what it ends with."""
    folder = RunFolder(recipe.folder)
    tuner = recipe.tuner.kind == "full" or (folder.tuner / SETTINGS).is_file()
    return tuner and (not build_tuner(recipe.tuner).mergeable or (folder.model / "model_index.json").is_file())


def step_of(recipe: Recipe) -> int:
    """The step that the model of a finished run is of: the last, or the best where the recipe takes that."""
    return int(ended(recipe).get("step", recipe.training.steps))


def ended(recipe: Recipe) -> dict[str, Any]:
    """How a finished run ended; an earlier version wrote nothing, or less."""
    end = RunFolder(recipe.folder).end
    return dict(read_json(end)) if end.is_file() else {}


def models_of(recipe: Recipe) -> Models:
    """The models of a finished run: two where all weights were tuned, else one, which is the pretrained one with its tuner off.

    Raises:
        CheckpointError: the training has not finished, or the pretrained model is another one now.
    """
    if recipe.tuner.kind == "full":
        model = model_of(recipe)
        before = pretrained(recipe)
        place(model, before.device, left(before.device), bool(recipe.training.offload))
        return Models(recipe, model, before, None)
    model, before, tuner = _tuned(recipe)
    return Models(recipe, model, before, tuner)


def model_of(recipe: Recipe) -> Backbone:
    """The averaged model of a finished run.

    Raises:
        CheckpointError: as `models_of`.
    """
    if not is_finished(recipe):
        again = shlex.quote(str(recipe.folder / "recipe.yaml"))
        raise CheckpointError(f"run {recipe.folder} has no model yet; finish it with `difftuning train {again}`")
    if recipe.tuner.kind != "full":
        return _tuned(recipe)[0]
    return configured(load(str(_whole(RunFolder(recipe.folder).model))), recipe)


def _whole(folder: Path) -> Path:
    """A folder of a run, once it is sure that it is what was written."""
    check_sums(folder, f"write it again with `difftuning train {shlex.quote(str(folder.parent / 'recipe.yaml'))}`")
    return folder


def _tuned(recipe: Recipe) -> tuple[Backbone, Backbone, Tuner]:
    """The pretrained model with its tuner attached, the same with the tuner off, and the tuner."""
    about, learned = read_tuner(_whole(RunFolder(recipe.folder).tuner))
    model = pretrained(recipe)
    labels, digest = model.labels, model.digest()
    if about["base"] != digest:
        raise CheckpointError(
            f"the tuner of {recipe.folder} was made for another model than {recipe.model} is now ({about['base'][:12]}, "
            f"now {digest[:12]}); set `model` in its recipe.yaml to the one that it was made for"
        )
    if about.get("noise", noise := model.noise_digest()) != noise:
        raise CheckpointError(
            f"the tuner of {recipe.folder} was made for another noise process or prediction than the scheduler of {recipe.model} "
            f"has now ({model.prediction.name}); give the model its scheduler config back"
        )
    model.change_labels(recipe.labels, tuple(about["classes"]))
    tuner = build_tuner(recipe.tuner)
    tuner.attach(model.network, trained_besides(recipe, model), recipe.seed)
    tuner.load(learned)
    return model, SwitchedOff(model, tuner.off, labels, recipe.labels, digest), tuner


def drawn_from(models: Models, sampling: SamplingConfig) -> Backbone:
    """What the samples of a run are drawn from: its model, or weights between it and the pretrained one.

    Raises:
        ModelError: there are no weights between, for a tuner that adds what the pretrained model does not have.
    """
    if sampling.interpolation is None:
        return models.model
    before, model = models.plain()
    start = copy.deepcopy(before)
    start.change_labels(models.recipe.labels, model.labels.names)
    return Interpolated(start, model, build(sampling.interpolation, model.process, model.clock))


def recipe_of(run: Path) -> Recipe:
    """The recipe saved in a run folder, pointing at where the folder is now."""
    folder = RunFolder(run).require()
    return validate(Recipe, load_recipe(folder.recipe)).model_copy(update={"out": str(run)})
