"""`bank`: draw the knowledge bank of a recipe, grow it, describe it, check it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difftuning.backbones.base import Backbone
from difftuning.backbones.loading import load
from difftuning.backbones.solvers import make_scheduler
from difftuning.bank import audit, generate
from difftuning.bank.card import BankCard, read_card
from difftuning.workflows.assemble import pretrained
from difftuning.workflows.display import Display, Silent, total
from difftuning.workflows.drawing import clip_of
from difftuning.workflows.recipe import Recipe


def build(recipe: Recipe, display: Display | None = None) -> BankCard:
    """Draw the bank of a recipe; a finished one is left as it is, a begun one is finished."""
    return draw(recipe, pretrained(recipe), display or Silent())


def draw(recipe: Recipe, backbone: Backbone, display: Display) -> BankCard:
    """`build`, with the pretrained model at hand."""
    clip = clip_of(backbone, recipe.sampling.clip)
    with display.progress(f"bank of {backbone.name}", recipe.bank.count) as task:
        tell = total(task)
        return generate.build(
            backbone, make_scheduler, recipe.bank_path, recipe.bank, clip, lambda done, count: tell(done)
        )


def extend(folder: Path, count: int, display: Display | None = None) -> BankCard:
    """Bring a finished bank to `count` items; its card says which model to load."""
    display = display or Silent()
    card = read_card(folder)
    with display.progress(f"bank of {card.model.name}", count, card.config.count) as task:
        tell = total(task, card.config.count)
        return generate.extend(load(card.model.name), make_scheduler, folder, count, lambda done, _: tell(done))


def info(folder: Path) -> dict[str, Any]:
    """The card of a bank and its digest."""
    card = read_card(folder)
    return {"digest": card.digest(), **card.model_dump(mode="json")}


def verify(folder: Path, display: Display | None = None) -> dict[str, Any]:
    """Read every item: digests, values that are not finite, duplicates, balance of the classes."""
    found = audit.verify(folder)
    return {"ok": found.ok, **found.model_dump(mode="json")}
