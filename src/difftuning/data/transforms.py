"""From any picture to what a model takes: RGB, square, of its size, in [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Transform:
    """On white where transparent, centre-cropped to a square, resized with an antialiasing filter.

    Attributes:
        size: the side of the result in pixels.
    """

    size: int

    @property
    def spec(self) -> str:
        """What is done, for cache keys; change it when the pixels would change."""
        return f"upright-white-centre-lanczos-{self.size}-v1"

    def picture(self, image: Image.Image) -> Image.Image:
        """The picture, decoded (see `decoding`), as the model will see it."""
        if image.has_transparency_data:
            drawn = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
        return ImageOps.fit(image.convert("RGB"), (self.size, self.size), Image.Resampling.LANCZOS)

    def pixels(self, image: Image.Image) -> Tensor:
        """(3, size, size) uint8."""
        return torch.from_numpy(np.array(self.picture(image))).permute(2, 0, 1)

    def __call__(self, image: Image.Image) -> Tensor:
        """(3, size, size) float32 in [-1, 1]."""
        return self.pixels(image).float() / 127.5 - 1
