"""The bank of a phase after the first, composed of an earlier one and of what the current model draws."""

from __future__ import annotations

import copy

from difftuning.backbones.base import Backbone
from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.compose import compose
from difftuning.continual.memory import Memory, Refresh, Static, has_risen, memory
from difftuning.data.target import Target
from difftuning.errors import ConfigError
from difftuning.lock import alone
from difftuning.workflows.bank import lock_of, telling, unseen_of, waits_for
from difftuning.workflows.display import Display
from difftuning.workflows.drawing import clip_of
from difftuning.workflows.heldout import known_rows, target_heldout
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import Recipe


def compose_bank(method: Static | Refresh, recipes: list[Recipe], targets: list[Target], display: Display) -> None:
    """Compose the bank and the held-out bank of the last one of these phases; finished ones are left as they are.

    Args:
        method: of the stream.
        recipes: of the phases up to this one, two at least; all before it are trained.
        targets: of these phases.
        display: shows progress.

    Raises:
        BankError: an earlier bank is damaged or too small, or another bank lies in its place.
        ConfigError: real images are asked for where the current model is to draw.
    """
    recipe, config = recipes[-1], recipes[-1].bank
    if isinstance(method, Refresh) and config.images is not None:
        raise ConfigError(
            f"bank.images={config.images!r}: a bank that is refreshed is drawn; set it to null, or method.kind=static"
        )
    model = pretrained(recipe)
    made = memory(method, len(recipes), _risen(method, model, recipes, targets))
    source = recipes[made.source - 1]
    display.note(_said(method, made, model, config.count))
    clip, unseen = clip_of(model, recipe.sampling.clip), unseen_of(config)
    parts = (
        (recipe.heldout_bank_path, source.heldout_bank_path, unseen),
        (recipe.bank_path, source.bank_path, config),
    )
    with (
        alone(lock_of(recipe.bank_path), waiting=lambda: display.note(waits_for(recipe))),
        display.progress(f"bank of {recipe.name}", unseen.count + config.count) as task,
    ):
        for folder, earlier, wanted in parts:
            keep = round(made.keep * wanted.count)
            compose(model, make_scheduler, folder, earlier, keep, wanted, clip, telling(task))


def _risen(method: Static | Refresh, model: Backbone, recipes: list[Recipe], targets: list[Target]) -> bool:
    """Whether the current model errs more on the images that come than on those of the phase before.

    Both are shares of the pretrained model's error: images of less contrast are easier for all models, and may be new all the same.
    """
    if isinstance(method, Static) or method.rise is None:
        return False
    # Copies: they learn the prompts that they are asked under, which the bank is not to be drawn under.
    current, first = copy.copy(model), copy.copy(pretrained(recipes[0]))

    def shares(target: Target) -> list[float]:
        errors = (
            target_heldout(target.heldout, known_rows(one, target.class_names), one, recipes[-1]).curve(one).error
            for one in (current, first)
        )
        return [float(own / start) for own, start in zip(*errors, strict=True)]

    return has_risen(shares(targets[-2]), shares(targets[-1]), method.rise)


def _said(method: Static | Refresh, made: Memory, model: Backbone, count: int) -> str:
    """What a bank is made of, in a sentence."""
    kept = round(made.keep * count)
    drawn = f" and {count - kept} drawn by {model.name}" if kept < count else ", and none drawn"
    classes = kept < count and isinstance(method, Refresh) and method.condition == "drawn"
    under = (
        "; these train under their classes, the others under no condition"
        if classes
        else "; all train under no condition"
    )
    return f"the bank: {kept} items of that of phase {made.source}{drawn}{under}"
