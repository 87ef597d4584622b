"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598), with one convention of the scale: 1 is off.

    x0-hat = x0(null) + scale (x0(condition) - x0(null))

The paper's w is `scale - 1`; DiT's and diffusers' `guidance_scale` is `scale`. Because every prediction is affine in
x0-hat at a given x_t, guiding x0-hat is the same as guiding eps or v.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from difftuning.config.precision import Precision
from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess
from difftuning.sampling.denoiser import Clipped, MixedPrecision, ModelDenoiser
from difftuning.types import Condition, Denoiser


class Model(Protocol):
    """A network that knows its process and what it predicts; a `difftuning.backbones.Backbone` is one."""

    @property
    def process(self) -> NoiseProcess:
        """Its noise process."""
        ...

    @property
    def prediction(self) -> Prediction:
        """What it predicts."""
        ...

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The raw answer."""
        ...


class ClassifierFreeGuidance:
    """A denoiser pushed away from its own unconditional answer.

    Args:
        denoiser: asked once with twice the batch, or once with the batch itself where the scale is 1.
        null_label: its label for "no condition".
        scale: 1 is the conditional model itself, 0 the unconditional one.
    """

    def __init__(self, denoiser: Denoiser, null_label: int, scale: float) -> None:
        self.denoiser, self.null_label, self.scale = denoiser, null_label, scale

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x_t (B, C, H, W), t (B,) -> guided x0-hat (B, C, H, W)."""
        if self.scale == 1:
            return self.denoiser(x_t, t, condition)
        null = condition.under(self.null_label)
        both = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), Condition.cat([condition, null]))
        conditional, unconditional = both.chunk(2)
        return unconditional + self.scale * (conditional - unconditional)


def guided(
    model: Model, null_label: int, scale: float, clip: float | None = None, precision: Precision = "no"
) -> Denoiser:
    """A model as samplers see it: in its precision, guided, then clipped.

    Args:
        model: what is sampled.
        null_label: its label for "no condition".
        scale: of the guidance; 1 is off.
        clip: keep x0-hat within [-clip, clip]: 1 for pixel models, None for latents.
        precision: what the network computes in.
    """
    network = MixedPrecision(model, precision)
    denoiser = ClassifierFreeGuidance(ModelDenoiser(network, model.process, model.prediction), null_label, scale)
    return denoiser if clip is None else Clipped(denoiser, clip)
