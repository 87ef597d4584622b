"""Relative depth and normals of small pictures of rooms, guessed by a network of ours: annotators for trials, with weights.

    control.annotator=module:difftuning.data.room_depth:Depth      control.kind=depth
    control.annotator=module:difftuning.data.room_depth:Normals    control.kind=normal

Learned from frames of NYU Depth v2 at 32x32 pixels by `benchmarks/pretrain/room_depth.py`; `card.json` says how far it is off in
scenes that it has not seen. Of other pictures it knows nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from difftuning.data.controls import normals

WEIGHTS = Path(__file__).parent / "model.safetensors"
WIDTHS = (24, 48, 96, 128)
"""Channels at the whole side, half of it, ..."""
SCENE = 2.0
"""The depth of a scene from its nearest to its farthest, in widths of the picture, that normals are taken with."""


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.GroupNorm(8, after),
        nn.SiLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.GroupNorm(8, after),
        nn.SiLU(),
    )


class DepthNet(nn.Module):
    """A U-Net (Ronneberger et al., 2015) from colours and places to depth, with new weights."""

    def __init__(self) -> None:
        super().__init__()
        pairs = zip((5, *WIDTHS), WIDTHS, strict=False)  # three colours, across, down
        self.down = nn.ModuleList(_block(before, after) for before, after in pairs)
        pairs = zip(WIDTHS[1:], WIDTHS, strict=False)
        self.up = nn.ModuleList(_block(before + after, after) for before, after in pairs)
        self.last = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8, sides a multiple of 8, to depth (N, 1, H, W), from 0 for what is nearest to 1."""
        rows, columns = (torch.linspace(-1, 1, side, device=images.device) for side in images.shape[2:])
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(images), -1, -1, -1)
        x = torch.cat([images / 127.5 - 1, places], 1)
        kept: list[Tensor] = []
        for block in self.down:
            x = block(x if not kept else functional.avg_pool2d(x, 2))
            kept.append(x)
        for block, beside in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), beside], 1))
        depth: Tensor = self.last(x).sigmoid()
        return depth


class Depth(DepthNet):
    """`DepthNet` as it was trained."""

    def __init__(self) -> None:
        super().__init__()
        self.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})


class Normals(Depth):
    """The normals of its depth, (N, 3, H, W) in [0, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        """See `DepthNet.forward`."""
        return normals(super().forward(images), SCENE)
