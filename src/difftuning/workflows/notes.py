"""What a user should know of a recipe before it trains, though nothing is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from difftuning.bank.card import CARD
from difftuning.config.precision import SLOW, native_bf16
from difftuning.training.ema import share_of_start
from difftuning.workflows.assemble import Prepared
from difftuning.workflows.judge import too_few

LITTLE = 0.05
"""A share of the weights before training that an average may keep without a word."""


def notes(prepared: Prepared) -> Iterator[str]:
    """What there is to say, a line each: of the images, of what does nothing, of what is left to do nothing."""
    recipe, backbone = prepared.recipe, prepared.backbone
    yield from prepared.target.report()
    if short := backbone.cut_short(prepared.target.class_names):
        yield f"{short} prompts are longer than what the text encoders read, which cut them"
    if recipe.data.prompt is not None and not backbone.by_prompt:
        yield f"data.prompt does nothing: {recipe.model} reads classes; it is for text-to-image models"
    unknown = [name for name in prepared.target.class_names if name not in backbone.labels.names]
    if recipe.labels.kind == "keep" and unknown and len(backbone.labels) and not backbone.by_prompt:
        yield (
            f"{recipe.model} has no class {unknown[0]!r}, so the classes take its first {len(prepared.target.class_names)} rows in "
            f"order, from {backbone.labels.names[0]!r} on, under those names; labels.kind=extend gives them rows of their own"
        )
    if (why := too_few(recipe, prepared.target)) is not None:
        yield why
    steps = recipe.training.steps
    first = 2 * recipe.training.heldout_every
    if recipe.coefficients.psi.kind == "adaptive" and steps <= first:
        yield (
            f"an adaptive psi retains nothing before step {first}, and this is standard fine-tuning; lower training.heldout_every"
        )
    if (left := share_of_start(steps, recipe.training.batch_size, recipe.ema)) > LITTLE:
        key, mend = (
            ("decay", "ema.kind=halflife") if recipe.ema.kind == "constant" else ("halflife_images", "ema.rampup=0.05")
        )
        yield (
            f"{left:.0%} of the model that is written and judged is the one before training: after {steps} steps an ema.{key} of "
            f"{getattr(recipe.ema, key):g} still holds it; lower it, or set {mend}, by which it goes with the length of a run"
        )
    if recipe.bank_folder is not None and not prepared.needs_bank and not (recipe.heldout_bank_path / CARD).is_file():
        yield (
            f"bank_folder={recipe.bank_folder}: no bank is there, and this run draws none, so no error on a bank is measured; "
            "is the path right?"
        )
    asked = {recipe.training.precision, recipe.bank.precision, recipe.sampling.precision}
    if "bf16" in asked and not native_bf16(backbone.device.type):
        yield SLOW
