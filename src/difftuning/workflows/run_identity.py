"""What a run is made from: a checkpoint goes on with it and with nothing else, and what it ended with is judged by it."""

from __future__ import annotations

from functools import partial

from difftuning.config.loading import load_recipe
from difftuning.config.validate import validate
from difftuning.data.target import Target
from difftuning.errors import CheckpointError
from difftuning.run_folder import RunFolder
from difftuning.training.identity import Identity
from difftuning.workflows.controls import BankItems, Controls
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.recipe_keys import changed

DATA = "data_digest"
"""The name of the digest of what is trained on."""


def identity_of(
    recipe: Recipe,
    model_digest: str,
    noise_digest: str,
    items: BankItems | None,
    target: Target,
    controls: Controls | None,
) -> Identity:
    """The identity of a run.

    Args:
        recipe: of it.
        model_digest: of the pretrained model.
        noise_digest: what that says of noise.
        items: of its bank, if it reads one.
        target: its images.
        controls: their maps, if it has some.
    """
    return Identity(
        {
            "recipe_digest": recipe.by_content().digest(),
            "model_digest": model_digest,
            "noise_digest": noise_digest,
            "bank_digest": "" if items is None else items.digest,
            DATA: data_digest(target, controls),
            "heldout_digest": target.heldout.digest,
        },
        formerly=lambda step: {"recipe_digest": _formerly(recipe, step)},
        differs=partial(changed, RunFolder(recipe.folder).recipe, recipe),
    )


def _formerly(recipe: Recipe, step: int) -> set[str]:
    """What else the recipe of a checkpoint after so many steps may be called: by an earlier version, or as one that ended there.

    The last step of a constant learning rate is like any other, so a training that has ended can go on.
    """
    digests = recipe.former_digests()
    if step < recipe.training.steps and recipe.optim.schedule == "constant":
        training = recipe.training.model_copy(update={"steps": step})
        ended = recipe.model_copy(update={"training": training})
        digests |= {ended.by_content().digest(), *ended.former_digests()}
    return digests


def check_folder(recipe: Recipe, step: int) -> None:
    """See that going on leaves all that is in a run folder true: its model is told by the recipe beside it, and its curve is one.

    Args:
        recipe: to go on with.
        step: of the last checkpoint; 0 where there is none.

    Raises:
        CheckpointError: its model is of another training, of which no checkpoint is left, or its error was measured otherwise.
    """
    folder = RunFolder(recipe.folder)
    if not folder.recipe.is_file():
        return
    before = validate(Recipe, load_recipe(folder.recipe))
    finished = folder.model.is_dir() or folder.tuner.is_dir()
    if step == 0 and finished and before.by_content().digest() != recipe.by_content().digest():
        raise CheckpointError(
            f"{folder.path} holds the model of another training, whose checkpoints are gone{changed(folder.recipe, recipe)}; give "
            "the run another `out`, or remove that folder"
        )
    was, now = before.evaluation.heldout_draws, recipe.evaluation.heldout_draws
    if 0 < step < recipe.training.steps and was != now:
        raise CheckpointError(
            f"the held-out error of {folder.path} was measured with evaluation.heldout_draws={was} up to step {step}, and with "
            f"{now} it would be another one; set it back until the training is done"
        )


def data_digest(target: Target, controls: Controls | None) -> str:
    """The sha256 of what is trained on: of the images, and of their maps where there are any."""
    images = target.train.digest
    return images if controls is None else f"{images}/{controls.train.digest}"
