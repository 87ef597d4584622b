"""The held-out error in ten bins of u, of the target and of the bank: during training, and of any model afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.bank.read import Bank
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.data.control_maps import ControlMaps
from difftuning.data.latents import LatentSet
from difftuning.diagnosis.adaptive_chain import AdaptiveChain
from difftuning.diagnosis.denoising_curve import BINS, DenoisingCurve, denoising_curve
from difftuning.errors import TrainingError
from difftuning.processes import present
from difftuning.types import Condition
from difftuning.workflows.controls import default_condition, items_of
from difftuning.workflows.drawing import spread
from difftuning.workflows.recipe import Recipe

BANK_ITEMS = 256
"""Items of the held-out bank: drawn like the bank from another seed, and never trained on."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Where a model's error is measured: latents and conditions, on the model's device.

    Attributes:
        latents: (N, C, H, W).
        condition: N conditions, rows of the model's own table.
        draws: in each bin.
        together: of which so many are asked at once, the most that samples are drawn at once.
    """

    latents: Tensor
    condition: Condition
    draws: int
    together: int

    def curve(self, backbone: Backbone) -> DenoisingCurve:
        """The model's error by u; the same items, noise and times for every model."""
        return denoising_curve(
            backbone,
            backbone.process,
            backbone.prediction,
            backbone.clock,
            self.latents,
            self.condition,
            per_bin=self.draws,
            batch_size=min(self.together, 128),
        )

    def without_condition(self, backbone: Backbone) -> HeldOut:
        """The same, asked under the null label of a model."""
        return replace(self, condition=self.condition.under(backbone.labels.null))


def measuring(recipe: Recipe, sets: int) -> str | None:
    """What measuring the error takes beside the training, where it is more than a quarter of that; a pass back costs two forward.

    Args:
        recipe: says how often, and with how many draws.
        sets: that are measured: the target, and a bank.
    """
    steps, every = recipe.training.steps, recipe.training.heldout_every
    times = 1 + math.ceil(steps / every) if every else 0
    passes, trained = times * BINS * recipe.evaluation.heldout_draws * sets, steps * recipe.training.batch_size
    if passes <= 3 * trained / 4:
        return None
    return (
        f"measuring the held-out error: {passes:,} passes forward, beside {trained:,} forward and back of training; lower "
        "evaluation.heldout_draws, or raise training.heldout_every"
    )


def known_rows(backbone: Backbone, names: Sequence[str]) -> Tensor:
    """(n,) int64: the model's row of each class, the null label for one that it does not know; it knows every prompt."""
    if backbone.by_prompt:
        return backbone.rows(names)
    rows = {name: row for row, name in enumerate(backbone.labels.names)}
    return torch.tensor([rows.get(name, backbone.labels.null) for name in names], dtype=torch.int64)


def target_heldout(
    heldout: LatentSet, rows: Tensor, backbone: Backbone, recipe: Recipe, maps: ControlMaps | None = None
) -> HeldOut:
    """The held-out images of the target, under their labels and maps; of maps, which are large, only as many as are drawn."""
    draws = recipe.evaluation.heldout_draws
    chosen = torch.arange(len(heldout)) if maps is None else spread(len(heldout), min(draws, len(heldout)))
    latents = heldout.get(chosen, torch.zeros(len(chosen), dtype=torch.bool))
    condition = Condition(rows[heldout.labels[chosen]], None if maps is None else maps.get(chosen))
    return HeldOut(latents.to(backbone.device), condition.to(backbone.device), draws, recipe.sampling.batch_size)


def bank_heldout(bank: Bank, backbone: Backbone, recipe: Recipe) -> HeldOut:
    """The items of the held-out bank, under the default condition, which is how retention sees a bank."""
    items = items_of(bank, recipe.control, backbone)
    everything = torch.arange(len(items))
    latents = items.get(everything).to(backbone.device)
    condition = default_condition(items, everything, backbone)
    return HeldOut(latents, condition, recipe.evaluation.heldout_draws, recipe.sampling.batch_size)


def measurement(backbone: Backbone, on_target: HeldOut, on_bank: HeldOut | None) -> Callable[[int], dict[str, float]]:
    """A hook's action: the mean over the bins as `heldout` and `heldout_bank`, and each bin as `heldout_0` ... ."""

    def measure(step: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, where in (("heldout", on_target), ("heldout_bank", on_bank)):
            if where is not None:
                curve = where.curve(backbone)
                found[name] = curve.mean
                found |= {f"{name}_{index}": float(error) for index, error in enumerate(curve.error)}
        return found

    return measure


def adapting(
    chain: ChainOfForgetting | AdaptiveChain, measured: Callable[[int], dict[str, float]]
) -> Callable[[int], dict[str, float]]:
    """A measurement that an adaptive chain sees, with the weight that retention has from then on as `retained`.

    All processes see what the main one has measured: theirs may differ by a rounding, and then their batches would.
    """
    if not isinstance(chain, AdaptiveChain):
        return measured

    def measure(step: int) -> dict[str, float]:
        own = measured(step)  # by all of them, which may share the weights
        found = present().on_main(lambda: own)
        if not all(map(math.isfinite, errors := by_u(found))):
            raise TrainingError(
                f"the held-out error after step {step} is not finite, so the training has diverged; lower optim.lr, or use "
                "training.precision=bf16 or no"
            )
        chain.see(step, errors)
        return {**found, "retained": chain.at(step + 1).retained}

    return measure


def by_u(record: Mapping[str, Any]) -> list[float]:
    """The held-out error of the target in each bin, from what `measurement` has found."""
    return [float(value) for name, value in record.items() if name.removeprefix("heldout_").isdecimal()]
