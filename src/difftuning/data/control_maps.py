"""The control maps of images, made once: kept as PNG files in the cache, by the content of the image and of what made them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from difftuning.config.section import Section
from difftuning.data.controls import Annotator, annotator_of
from difftuning.data.tensor_cache import TensorCache
from difftuning.errors import ConfigError

Kind = Literal["edge", "sketch", "depth", "normal", "segmentation"]


class ControlConfig(Section):
    """Training a ControlNet: what it is told of an image, and how its obedience is measured."""

    kind: Kind
    """Of the maps: edge, sketch, depth, normal or segmentation."""
    folder: str | None = None
    """A folder of the target's maps, each with the path of its image, whatever the suffix; null has them made by the annotator."""
    column: str | None = None
    """The column of a data set with the target's maps."""
    annotator: str | None = None
    """What makes maps of images, those of bank items and of drawn images always: `module:package.module:Class`, `aux:Class` of the
    package controlnet-aux, or null for ours."""
    unlocked: bool = False
    """Train the second half of the UNet too."""
    measure_every: int = Field(0, ge=0)
    """Steps between measurements of control consistency; 0 never."""
    items: int = Field(64, gt=0)
    """Held-out images whose controls are drawn from for that, always from the same noise."""

    @model_validator(mode="after")
    def _one_place(self) -> ControlConfig:
        if self.folder is not None and self.column is not None:
            raise ValueError("folder and column are two places for the target's maps; leave one of them out")
        return self

    @property
    def given(self) -> bool:
        """The target's maps come with it."""
        return self.folder is not None or self.column is not None


@dataclass(frozen=True)
class ControlMaps:
    """Maps in memory, as PNG files.

    Attributes:
        kind: of the control.
        encoded: N, each (bytes,) uint8.
    """

    kind: str
    encoded: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.encoded)

    def get(self, indices: Tensor, flip: Tensor | None = None) -> Tensor:
        """Maps by indices (n,) int64, flip (n,) bool: mirrored left to right -> (n, K, S, S) float32 in [0, 1].

        The mirror image of a map of normals points to the other side.
        """
        found = []
        for place, index in enumerate(indices.tolist()):
            one = _decoded(self.encoded[index]).float() / 255
            if flip is not None and bool(flip[place]):
                one = one.flip(-1)
                if self.kind == "normal":
                    one[0] = 1 - one[0]
            found.append(one)
        return torch.stack(found)

    def subset(self, indices: Tensor) -> ControlMaps:
        """The maps that indices (n,) int64 pick."""
        return ControlMaps(self.kind, tuple(self.encoded[index] for index in indices.tolist()))

    @property
    def digest(self) -> str:
        """The sha256 of all maps in order."""
        total = hashlib.sha256(self.kind.encode())
        for one in self.encoded:
            total.update(one.numpy().tobytes())
        return total.hexdigest()


def annotated(
    annotator: Annotator, kind: str, keys: Sequence[str], images: Callable[[int], Tensor], cache_dir: Path | None
) -> ControlMaps:
    """The maps that an annotator makes of some images.

    Args:
        annotator: of the kind.
        kind: of control.
        keys: N digests, each of the content of an image at the model's size.
        images: image i, (3, S, S) uint8, asked for only where its map is not known.
        cache_dir: where maps are kept; None to keep none.
    """
    folder = hashlib.sha256(f"{kind}/{annotator.spec}".encode()).hexdigest()[:32]
    cache = TensorCache(None if cache_dir is None else cache_dir / "controls" / folder)
    found = []
    for index, key in enumerate(keys):
        one = cache.get(key)
        if one is None:
            one = as_png((annotator(images(index)[None])[0].clamp(0, 1) * 255).round().to(torch.uint8))
            cache.put(key, one)
        found.append(one)
    cache.flush()
    return ControlMaps(kind, tuple(found))


def as_png(pixels: Tensor) -> Tensor:
    """(1 or 3, S, S) uint8 as a PNG file."""
    # OpenCV has colours from blue to red.
    done, file = cv2.imencode(".png", pixels.flip(0).permute(1, 2, 0).contiguous().numpy())
    assert done
    return torch.from_numpy(file)


def _decoded(file: Tensor) -> Tensor:
    """`_encoded` the other way."""
    found = np.asarray(cv2.imdecode(file.numpy(), cv2.IMREAD_UNCHANGED))
    return torch.from_numpy(found.reshape(*found.shape[:2], -1)).permute(2, 0, 1).flip(0)


def is_blank(encoded: Tensor) -> bool:
    """Whether a map is of one value all over."""
    values = _decoded(encoded).flatten(1)
    return bool((values == values[:, :1]).all())


def required_annotator(config: ControlConfig) -> Annotator:
    """The annotator of a config.

    Raises:
        ConfigError: there is none.
    """
    found = annotator_of(config.kind, config.annotator)
    if found is None:
        raise ConfigError(
            f"control.kind={config.kind}: nothing here makes such maps of any drawn image; set control.annotator, to "
            "aux:MidasDetector (package controlnet-aux) or, for icons on a plain ground, to "
            f"module:difftuning.data.relief:{'Relief' if config.kind == 'depth' else 'Normals'}"
        )
    return found
