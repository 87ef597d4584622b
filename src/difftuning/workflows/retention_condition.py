"""What each bank item trains under where that is what it was drawn under (`training.retention_condition`)."""

from __future__ import annotations

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.labels import LabelSpace
from difftuning.errors import ConfigError
from difftuning.workflows.controls import BankItems, ControlledBank
from difftuning.workflows.recipe import Recipe


def check_condition(recipe: Recipe, backbone: Backbone) -> None:
    """Refuse a condition that nothing was drawn under, or that the trained model cannot be asked under.

    Raises:
        ConfigError: it is.
    """
    if recipe.training.retention_condition is None:
        return
    where, without = "training.retention_condition=drawn", "set it to null"
    kind = recipe.labels.kind
    if not backbone.by_prompt and kind not in ("extend", "keep"):
        raise ConfigError(
            f"{where} trains bank items under the model's own classes, which labels.kind={kind} takes away; "
            f"use labels.kind=extend, or {without}"
        )
    if recipe.bank.images is not None or recipe.bank.labels == "null":
        key = f"labels={recipe.bank.labels}" if recipe.bank.images is None else f"images={recipe.bank.images}"
        raise ConfigError(f"{where}, and no item of a bank with bank.{key} is drawn under anything; {without}")


def bank_rows(recipe: Recipe, items: BankItems | None, before: LabelSpace, backbone: Backbone) -> Tensor | None:
    """(N,) int64: the row of what each item was drawn under, of a model whose labels have changed meanwhile; None for the default.

    Items that were copied from an earlier bank of a stream, whose model may have known other classes, train under the default one.

    Args:
        recipe: which says whether.
        items: of the bank; None where none is read.
        before: the labels that it was drawn under, each of which the model still has.
        backbone: the model; one that is asked under prompts learns those of the bank.
    """
    if recipe.training.retention_condition is None or items is None:
        return None
    places = torch.arange(len(items))
    whole, kept = (items.bank, items.kept) if isinstance(items, ControlledBank) else (items, places)
    copied = kept < whole.card.copied
    labels = items.labels(places).masked_fill(copied, before.null)
    # Classes stay in their rows, where two may have one name. New prompts move the null label, so they come first.
    rows = backbone.rows(before.names) if backbone.by_prompt else torch.arange(len(before))
    rows = torch.cat([rows, torch.tensor([backbone.labels.null])])
    return torch.where(copied, backbone.default_label, rows[labels])
