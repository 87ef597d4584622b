"""The pull towards the pretrained weights that a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from difftuning.backbones.base import Backbone
from difftuning.backbones.evaluating import evaluating
from difftuning.data.order import step_generator
from difftuning.objectives.anchor import Anchor, fisher
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.types import Batch, Draw
from difftuning.workflows.controls import BankItems, default_condition
from difftuning.workflows.recipe import Recipe


def anchor_of(
    recipe: Recipe,
    objective: DiffTuning,
    parameters: Mapping[str, nn.Parameter],
    backbone: Backbone,
    bank: BankItems | None,
) -> Anchor | None:
    """The anchor of a run, at the weights as they are now; None where the recipe has none."""
    config = recipe.anchor
    if config is None:
        return None
    if config.kind == "l2-sp":
        return Anchor(parameters, config.strength)
    assert bank is not None
    with evaluating(backbone.network):  # dropout would make another one each time
        importance = fisher(objective, parameters, bank_items(bank, backbone, config.draws))
    return Anchor(parameters, config.strength, importance)


def bank_items(bank: BankItems, backbone: Backbone, draws: int) -> Iterator[Batch]:
    """Single bank items under the default condition, each at the middle of an equal part of u."""
    for index in range(draws):
        item = torch.tensor([index % len(bank)])
        x0 = bank.get(item)
        noise = torch.randn(x0.shape, generator=step_generator(0, index, "fisher"))
        t = backbone.clock.t(torch.tensor([(index + 0.5) / draws], dtype=torch.float64))
        draw = Draw(t.float(), backbone.clock.u(t).float(), torch.ones(1, dtype=torch.bool), torch.ones(1))
        yield Batch(x0, noise, default_condition(bank, item, backbone).to("cpu"), draw).to(backbone.device)
