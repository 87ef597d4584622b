"""The parts of the networks of Karras et al. 2022: a residual block with the noise level in it, and attention behind it.

DDPM++ (Song et al. 2021) and ADM (Dhariwal & Nichol 2021) share a skeleton; the few things in which they differ are a `Style`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Resample = Literal["down", "up"]


@dataclass(frozen=True, slots=True)
class Style:
    """In what DDPM++ and ADM differ.

    Attributes:
        class_first: classes are added to the sines of the noise level, and not to what its two layers make of them.
        sines_first: the sines of the noise level stand before its cosines.
        last_frequency: the lowest frequency is 1 / 10,000, and not one step above it.
        scale_and_shift: the noise level scales and shifts the second norm, and is not added before it.
        residual_scale: of the sum of a branch and its shortcut; sqrt(1/2) keeps its variance.
        epsilon: of the group norms.
        head_width: channels of an attention head; None for one head.
        convolved_shortcut: a shortcut that changes the resolution has a convolution too.
        attention_throughout: all blocks of the decoder at an attention resolution attend, and not the last alone.
    """

    class_first: bool
    sines_first: bool
    last_frequency: bool
    scale_and_shift: bool
    residual_scale: float
    epsilon: float
    head_width: int | None
    convolved_shortcut: bool
    attention_throughout: bool


STYLES = MappingProxyType(
    {
        "ddpmpp": Style(True, True, True, False, math.sqrt(0.5), 1e-6, None, True, False),
        "adm": Style(False, False, False, True, 1.0, 1e-5, 64, False, True),
    }
)
"""Kind of network to its style."""


def group_norm(channels: int, epsilon: float) -> nn.GroupNorm:
    """32 groups, or fewer where a group would have less than 4 channels."""
    return nn.GroupNorm(max(1, min(32, channels // 4)), channels, eps=epsilon)


def sines(noise: Tensor, width: int, style: Style) -> Tensor:
    """(B,) noise levels -> (B, width): sines and cosines at frequencies from 1 down to 1 / 10,000 (Vaswani et al. 2017)."""
    half = width // 2
    steps = half - 1 if style.last_frequency else half
    exponents = torch.arange(half, dtype=torch.float32, device=noise.device) / max(steps, 1)
    angles = noise.float()[:, None] * 10_000**-exponents
    parts = (angles.sin(), angles.cos()) if style.sines_first else (angles.cos(), angles.sin())
    return torch.cat(parts, dim=1).to(noise.dtype)


def resampled(x: Tensor, resample: Resample | None) -> Tensor:
    """Half the resolution by means of 2 by 2 pixels, twice the resolution by repetition, or x itself."""
    if resample == "down":
        return functional.avg_pool2d(x, 2)
    return functional.interpolate(x, scale_factor=2.0, mode="nearest") if resample == "up" else x


class Block(nn.Module):
    """A residual block: norm, SiLU, convolution, the noise level, norm, SiLU, convolution; then attention where it is wanted.

    Args:
        channels: of its input.
        out_channels: of its answer.
        embedding: width of the embedded noise level.
        style: DDPM++ or ADM.
        attention: whether it attends.
        resample: changes the resolution before its first convolution, and in its shortcut.
        dropout: before its second convolution.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embedding: int,
        style: Style,
        attention: bool = False,
        resample: Resample | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.style, self.resample, self.dropout = style, resample, dropout
        self.norm0 = group_norm(channels, style.epsilon)
        self.conv0 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.affine = nn.Linear(embedding, out_channels * (2 if style.scale_and_shift else 1))
        self.norm1 = group_norm(out_channels, style.epsilon)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        convolved = channels != out_channels or (resample is not None and style.convolved_shortcut)
        self.skip = nn.Conv2d(channels, out_channels, 1) if convolved else None
        self.heads = max(1, out_channels // style.head_width) if style.head_width else 1
        self.norm2 = group_norm(out_channels, style.epsilon) if attention else None
        self.qkv = nn.Conv2d(out_channels, 3 * out_channels, 1) if attention else None
        self.proj = nn.Conv2d(out_channels, out_channels, 1) if attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """X (B, C, H, W), embedding (B, E) -> (B, C', H', W')."""
        noise = self.affine(embedding)[:, :, None, None]
        h: Tensor = self.conv0(resampled(functional.silu(self.norm0(x)), self.resample))
        if self.style.scale_and_shift:
            scale, shift = noise.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm1(h), 1 + scale)
        else:
            h = self.norm1(h + noise)
        h = self.conv1(functional.dropout(functional.silu(h), self.dropout, self.training))
        shortcut = resampled(x, self.resample)
        h = (h + (shortcut if self.skip is None else self.skip(shortcut))) * self.style.residual_scale
        if self.qkv is not None:
            h = (h + self._attend(h)) * self.style.residual_scale
        return h

    def _attend(self, h: Tensor) -> Tensor:
        """Self-attention over the pixels. The published weights have query, key and value of a channel side by side."""
        assert self.norm2 is not None
        assert self.qkv is not None
        assert self.proj is not None
        size, channels, height, width = h.shape
        tokens = self.qkv(self.norm2(h)).view(size, self.heads, channels // self.heads, 3, height * width)
        query, key, value = tokens.transpose(2, 4).unbind(dim=3)  # each (B, heads, pixels, channels of a head)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        answer: Tensor = self.proj(mixed.transpose(2, 3).reshape(size, channels, height, width))
        return answer
