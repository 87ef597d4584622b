"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598), with one convention of the scale: 1 is off.

    x0-hat = x0(null) + scale (x0(condition) - x0(null))

The paper's w is `scale - 1`; DiT's and diffusers' `guidance_scale` is `scale`. Because every prediction is affine in
x0-hat at a given x_t, guiding x0-hat is the same as guiding eps or v.
"""

from __future__ import annotations

import torch
from torch import Tensor

from difftuning.types import Condition, Denoiser


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
        null = Condition(torch.full_like(condition.labels, self.null_label))
        both = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), Condition.cat([condition, null]))
        conditional, unconditional = both.chunk(2)
        return unconditional + self.scale * (conditional - unconditional)
