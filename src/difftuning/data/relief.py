"""Relative depth and normals of drawings on a plain ground, by a rule: annotators for icons, sprites and clip art.

    control.annotator=module:difftuning.data.relief:Relief      control.kind=depth
    control.annotator=module:difftuning.data.relief:Normals     control.kind=normal

What is drawn is taken for a cushion: it rises from its outline (Johnston 2002, Lumo, has normals of cel animation so). No network
is asked. A picture that fills its frame has no outline, and makes no sense here.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from difftuning.data.controls import Image, normals

APART = 32
"""A pixel is drawn where a channel is so far from the ground, the median along the border."""
RADIUS = 0.25
"""How far within its outline a drawing is at its full height, in widths of the picture."""
HEIGHT = RADIUS
"""That height, in widths of the picture: the edge of the cushion is that of a ball."""


def height(image: Image) -> NDArray[np.float32]:
    """(H, W, 3) to (H, W) in [0, 1]: 0 for the ground, a quarter of a circle up from the outline, then 1."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    drawn = (np.abs(image - np.median(border, axis=0)) > APART).any(-1)
    within = cv2.distanceTransform(drawn.astype(np.uint8), cv2.DIST_L2, 5) / (RADIUS * image.shape[1])
    return np.asarray(np.sqrt(1 - np.square(1 - within.clip(0, 1))), np.float32)


class Relief(nn.Module):
    """Depth of a drawing: near is light."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8 to heights (N, 1, H, W) in [0, 1]."""
        return torch.stack([torch.from_numpy(height(one.permute(1, 2, 0).cpu().numpy()))[None] for one in images])


class Normals(Relief):
    """The normals of that relief, (N, 3, H, W) in [0, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        """See `Relief.forward`."""
        return normals(super().forward(images), HEIGHT)
