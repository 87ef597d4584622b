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
from PIL import Image, ImageOps
from pydantic import Field, model_validator
from torch import Tensor

from difftuning.config.section import Section
from difftuning.data.base import ImageSource, Skipped
from difftuning.data.controls import CHANNELS, Annotator, annotator_of
from difftuning.data.decoding import decode
from difftuning.data.tensor_cache import TensorCache
from difftuning.data.transforms import Transform
from difftuning.errors import ConfigError, DataError

Kind = Literal["edge", "sketch", "depth", "normal", "segmentation"]
ASPECT = 0.01
"""By which share the sides of a map may be in another proportion than those of its image."""


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
            one = _encoded((annotator(images(index)[None])[0].clamp(0, 1) * 255).round().to(torch.uint8))
            cache.put(key, one)
        found.append(one)
    cache.flush()
    return ControlMaps(kind, tuple(found))


def read_maps(path: Path, kind: str, size: int, max_pixels: int) -> ControlMaps:
    """The map in a file, or those in a folder in the order of their names.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no control maps")
    try:
        read = [decode(one.read_bytes(), str(one), max_pixels) for one in files]
    except OSError as reason:
        raise DataError(f"the control map {path} cannot be read ({reason.strerror or reason})") from reason
    return ControlMaps(kind, tuple(_encoded(fitted(one, kind, size)) for one in read))


def _encoded(pixels: Tensor) -> Tensor:
    """(1 or 3, S, S) uint8 as a PNG file."""
    # OpenCV has colours from blue to red.
    done, file = cv2.imencode(".png", pixels.flip(0).permute(1, 2, 0).contiguous().numpy())
    assert done
    return torch.from_numpy(file)


def _decoded(file: Tensor) -> Tensor:
    """`_encoded` the other way."""
    found = np.asarray(cv2.imdecode(file.numpy(), cv2.IMREAD_UNCHANGED))
    return torch.from_numpy(found.reshape(*found.shape[:2], -1)).permute(2, 0, 1).flip(0)


def fitted(drawn: Image.Image, kind: str, size: int) -> Tensor:
    """A map from a file as the model takes it, cropped as its image is: (K, size, size) uint8."""
    # Classes must not be mixed; all else is averaged.
    how = Image.Resampling.NEAREST if kind == "segmentation" else Image.Resampling.BOX
    square = ImageOps.fit(drawn.convert("L" if CHANNELS[kind] == 1 else "RGB"), (size, size), how)
    return torch.from_numpy(np.array(square)).reshape(size, size, -1).permute(2, 0, 1)


class GivenMaps:
    """The maps that come with a target.

    Args:
        config: says where; `folder` or `column` is set.
        source: the images.
        transform: to the model's size.
        max_pixels: maps above it are refused.

    Raises:
        DataError: there is no such folder, or the target has no such column.
    """

    def __init__(self, config: ControlConfig, source: ImageSource, transform: Transform, max_pixels: int) -> None:
        self.config, self.source, self.transform, self.max_pixels = config, source, transform, max_pixels
        self._files: dict[str, Path] = {}
        if config.folder is not None:
            folder = Path(config.folder).expanduser()
            if not folder.is_dir():
                raise DataError(
                    f"control.folder {config.folder!r} is no folder; name the one with the maps of {source.name}"
                )
            files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
            self._files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
        elif config.column is not None:
            source.in_column(config.column, 0)

    def _content(self, index: int) -> bytes:
        origin = self.source.origin(index)
        if self.config.column is not None:
            return self.source.in_column(self.config.column, index)
        name = Path(origin).with_suffix("").as_posix()
        if name not in self._files:
            raise DataError(f"{origin}: no map {name}.* in control.folder {self.config.folder}")
        return self._files[name].read_bytes()

    def get(self, index: int) -> Tensor:
        """The map of an image of the source, as a PNG file.

        Raises:
            DataError: it is missing, unreadable, or of another shape than its image.
        """
        origin, kind = self.source.origin(index), self.config.kind
        drawn = decode(self._content(index), f"the map of {origin}", self.max_pixels)
        image = self.source.read(index)
        if abs(drawn.width / drawn.height / (image.width / image.height) - 1) > ASPECT:
            raise DataError(
                f"{origin}: its map is of {drawn.width}x{drawn.height} pixels and it of {image.width}x{image.height}, "
                "another proportion; they must show the same"
            )
        return _encoded(fitted(drawn, kind, self.transform.size))


def target_maps(
    config: ControlConfig,
    source: ImageSource,
    transform: Transform,
    indices: Sequence[int],
    max_pixels: int,
    cache_dir: Path | None,
) -> tuple[ControlMaps, list[int], list[Skipped]]:
    """The maps of images of a target.

    Returns:
        The maps, which of `indices` (by place) they are of, and what was set aside: images without a usable map, and those whose
        map says nothing, being of one value all over.

    Raises:
        ConfigError: there is no annotator for the kind, and no maps are given.
        DataError: no image has a usable map.
    """
    if config.given:
        given = GivenMaps(config, source, transform, max_pixels)
        made: list[Tensor | DataError] = [_or_reason(given.get, index) for index in indices]
    else:
        annotator = required_annotator(config)
        keys = [hashlib.sha256(f"{source.key(index)}/{transform.spec}".encode()).hexdigest() for index in indices]
        pictures = lambda place: transform.pixels(source.read(indices[place]))  # noqa: E731
        made = list(annotated(annotator, config.kind, keys, pictures, cache_dir).encoded)
    kept, skipped = [], []
    for place, one in enumerate(made):
        origin = source.origin(indices[place])
        if isinstance(one, DataError):
            skipped.append(Skipped(origin, str(one).removeprefix(f"{origin}: ")))
        elif is_blank(one):
            skipped.append(
                Skipped(origin, f"its {config.kind} map is of one value all over, so there is nothing to obey")
            )
        else:
            kept.append(place)
    if not kept:
        first = "; ".join(f"{one.origin}: {one.reason}" for one in skipped[:3])
        raise DataError(f"no image of {source.name} has a usable {config.kind} map ({first})")
    maps = tuple(one for place in kept if isinstance(one := made[place], Tensor))
    return ControlMaps(config.kind, maps), kept, skipped


def _or_reason(get: Callable[[int], Tensor], index: int) -> Tensor | DataError:
    try:
        return get(index)
    except (DataError, OSError) as reason:
        return reason if isinstance(reason, DataError) else DataError(str(reason))


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
            f"control.kind={config.kind}: nothing here makes such maps of drawn images; set control.annotator, for instance to "
            "aux:MidasDetector (package controlnet-aux)"
        )
    return found
