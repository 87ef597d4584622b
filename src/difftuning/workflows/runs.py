"""Opening what a finished run wrote, for sampling, evaluation and diagnosis."""

from __future__ import annotations

from pathlib import Path

from difftuning.backbones.base import Backbone
from difftuning.backbones.loading import load
from difftuning.config.loading import load_recipe
from difftuning.config.validate import validate
from difftuning.errors import CheckpointError
from difftuning.results import RunFolder
from difftuning.workflows.recipe import Recipe


def recipe_of(run: Path) -> Recipe:
    """The recipe saved in a run folder, pointing at where the folder is now."""
    folder = RunFolder(run).require()
    recipe = validate(Recipe, load_recipe(folder.recipe))
    moved = {"out": str(run)}
    if recipe.bank_folder is None or Path(recipe.bank_folder).is_dir():
        return recipe.model_copy(update=moved)
    raise CheckpointError(
        f"the bank {recipe.bank_folder} of run {run} is gone; put it back, or set bank_folder in recipe.yaml"
    )


def model_of(run: Path) -> Backbone:
    """The averaged model of a finished run.

    Raises:
        CheckpointError: the training has not finished.
    """
    folder = run / "model"
    if not (folder / "model_index.json").is_file():
        raise CheckpointError(f"run {run} has no model yet; finish it with `difftuning train {run / 'recipe.yaml'}`")
    return load(str(folder))
