"""Annotators of one's own: modules that make a control map of an image."""

from __future__ import annotations

from torch import Tensor, nn


class Grey(nn.Module):
    """How bright it is, one channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(1, keepdim=True) / 255


class Colour(nn.Module):
    """The image itself, three channels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float() / 255
