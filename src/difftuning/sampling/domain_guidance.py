"""Domain guidance (Zhong et al. 2025, arXiv 2504.01521): away from the pretrained model, not from the fine-tuned one's own mean.

    x0-hat = x0_pretrained(null) + scale (x0(condition) - x0_pretrained(null))

The pretrained model's unconditional answer is the better estimate of what all images share, since fine-tuning on few images
wears down the fine-tuned model's own. The scale is that of `guidance`: 1 is off.
"""

from __future__ import annotations

from torch import Tensor

from difftuning.types import Condition, Denoiser


class DomainGuidance:
    """A denoiser pushed away from another one.

    Args:
        denoiser: the fine-tuned model.
        negative: the pretrained one; it must not need the condition (see `Unconditional`).
        scale: 1 is the fine-tuned model itself, which is then the only one asked.
    """

    def __init__(self, denoiser: Denoiser, negative: Denoiser, scale: float) -> None:
        self.denoiser, self.negative, self.scale = denoiser, negative, scale

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x_t (B, C, H, W), t (B,) -> guided x0-hat (B, C, H, W)."""
        ours = self.denoiser(x_t, t, condition)
        if self.scale == 1:
            return ours
        theirs = self.negative(x_t, t, condition)
        return theirs + self.scale * (ours - theirs)
