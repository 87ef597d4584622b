"""The exponential moving average of the trainable parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from difftuning.config.section import Section


class EMAConfig(Section):
    """How the average forgets."""

    kind: Literal["constant", "halflife"] = "constant"
    """`constant` is the decay of DiT and of the paper's code, from the first step; `halflife` is EDM's."""
    decay: float = Field(0.9999, ge=0, lt=1)
    """The factor per step of the constant kind; 0 switches the average off."""
    halflife_images: float = Field(500_000, gt=0)
    """Target and bank images after which half of the old average is left, for the halflife kind."""
    rampup: float | None = Field(0.05, gt=0)
    """The halflife kind's half-life is at most this share of the images seen; null for none."""
    device: Literal["cpu"] | None = None
    """Where the average is kept: `cpu` takes it out of a GPU's memory for a copy of the weights a step; null beside the weights."""


def decay_at(step: int, batch_size: int, config: EMAConfig) -> float:
    """The decay of the update after `step` steps (1, 2, ...)."""
    if config.kind == "constant":
        return config.decay
    halflife = config.halflife_images
    if config.rampup is not None:
        halflife = min(halflife, step * batch_size * config.rampup)
    return float(0.5 ** (batch_size / max(halflife, 1e-8)))


def share_of_start(steps: int, batch_size: int, config: EMAConfig) -> float:
    """The weight that the parameters before the first step have in the average after `steps` steps."""
    return math.prod(decay_at(step, batch_size, config) for step in range(1, steps + 1))


class EMA:
    """The average of named parameters, started from their values.

    One `_foreach_lerp_` an update: diffusers' EMAModel makes a temporary as large as the model, and warms its decay up in a way
    that keeps "0.9999" from being reached within 24,000 steps.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: EMAConfig) -> None:
        self.config = config
        self._parameters = dict(parameters)
        self.average: dict[str, Tensor] = {
            name: value.detach().to(config.device or value.device, copy=True) for name, value in parameters.items()
        }

    @torch.no_grad()
    def update(self, step: int, batch_size: int) -> None:
        """Move the average towards the parameters after step `step` (1, 2, ...)."""
        weight = 1 - decay_at(step, batch_size, self.config)
        pairs = zip(self._parameters.values(), self.average.values(), strict=True)
        beside = [
            value.detach().to(average.device) for value, average in pairs
        ]  # themselves, where they are there already
        torch._foreach_lerp_(list(self.average.values()), beside, weight)

    @torch.no_grad()
    def take(self, average: Mapping[str, Tensor]) -> None:
        """Go on from another average."""
        for name, value in self.average.items():
            value.copy_(average[name])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Within the context the model carries the average; the trained values come back after it, bit for bit."""
        trained = {name: parameter.data for name, parameter in self._parameters.items()}
        try:
            for name, parameter in self._parameters.items():
                parameter.data = self.average[name].to(parameter.device)
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = trained[name]
