"""From any picture to what a model takes: RGB, square, of its size, in [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Transform:
    """Upright, on white where transparent, centre-cropped to a square, resized with an antialiasing filter.

    Attributes:
        size: the side of the result in pixels.
    """

    size: int

    @property
    def spec(self) -> str:
        """What is done, for cache keys; change it when the pixels would change."""
        return f"upright-white-centre-lanczos-{self.size}-v1"

    def picture(self, image: Image.Image) -> Image.Image:
        """The picture as the model will see it."""
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
            values = np.asarray(upright, dtype=np.float64)
            # 16-bit greys fill their own range; Pillow's own conversion would clip them at 255.
            upright = Image.fromarray(
                (values / max(1.0, 65535.0 if values.max() > 255 else 255.0) * 255).astype(np.uint8)
            )
        if "A" in upright.getbands() or "transparency" in upright.info:
            drawn = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
        return ImageOps.fit(upright.convert("RGB"), (self.size, self.size), Image.Resampling.LANCZOS)

    def pixels(self, image: Image.Image) -> Tensor:
        """(3, size, size) uint8."""
        return torch.from_numpy(np.array(self.picture(image))).permute(2, 0, 1)

    def __call__(self, image: Image.Image) -> Tensor:
        """(3, size, size) float32 in [-1, 1]."""
        return self.pixels(image).float() / 127.5 - 1
