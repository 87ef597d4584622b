"""The control maps of a target: given in a folder or a column, or made of its images by an annotator."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from difftuning.data.base import ImageSource, Skipped
from difftuning.data.control_maps import ControlConfig, ControlMaps, annotated, as_png, is_blank, required_annotator
from difftuning.data.controls import CHANNELS, normals
from difftuning.data.decoding import decode
from difftuning.data.folder import files_of, printable
from difftuning.data.joined import Joined
from difftuning.data.transforms import Transform
from difftuning.errors import DataError

_OF_DEPTH = ("depth", "normal")
"""Kinds whose grey maps measure something."""
ASPECT = 0.01
"""By which share the sides of a map may be in another proportion than those of its image."""


def read_maps(path: Path, kind: str, size: int, max_pixels: int) -> ControlMaps:
    """The map in a file, or those in a folder in the order of their names.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    files = files_of(path, deep=False) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no control maps")
    try:
        read = [decode(one.read_bytes(), str(one), max_pixels, stretched=kind in _OF_DEPTH) for one in files]
    except OSError as reason:
        raise DataError(f"the control map {path} cannot be read ({reason.strerror or reason})") from reason
    return ControlMaps(kind, tuple(as_png(fitted(one, kind, size)) for one in read))


def fitted(drawn: Image.Image, kind: str, size: int) -> Tensor:
    """A map from a file as the model takes it, cropped as its image is: (K, size, size) uint8.

    A grey map of normals is one of depth, whose normals are taken; no map of normals is grey.
    """
    if kind == "normal" and _is_grey(drawn):
        depth = ImageOps.fit(_numbers(drawn), (size, size), Image.Resampling.BOX)
        found = normals(torch.from_numpy(np.array(depth))[None, None] / 255)[0]
        return (found * 255).round().to(torch.uint8)
    if drawn.mode == "F":
        averaged = ImageOps.fit(drawn, (size, size), Image.Resampling.BOX)
        return torch.from_numpy(np.array(averaged))[None].round().to(torch.uint8)
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
            places = Counter(source.place(index) for index in range(len(source)))
            if twice := [place for place, count in places.items() if count > 1]:
                raise DataError(
                    f"control.folder {config.folder!r} has one place for {twice[0]}, and two of the sets have such an image; "
                    "give their images other names"
                )
            files = files_of(folder, deep=True)
            self._files = {printable(path.relative_to(folder).with_suffix("").as_posix()): path for path in files}
        elif config.column is not None:
            for start in source.starts[:-1] if isinstance(source, Joined) else (0,):
                source.in_column(config.column, start)

    def _content(self, index: int) -> bytes:
        origin = self.source.origin(index)
        if self.config.column is not None:
            return self.source.in_column(self.config.column, index)
        name = Path(self.source.place(index)).with_suffix("").as_posix()
        if name not in self._files:
            raise DataError(f"{origin}: no map {name}.* in control.folder {self.config.folder}")
        return self._files[name].read_bytes()

    def get(self, index: int) -> Tensor:
        """The map of an image of the source, as a PNG file.

        Raises:
            DataError: it is missing, unreadable, or of another shape than its image.
        """
        origin, kind = self.source.origin(index), self.config.kind
        drawn = decode(self._content(index), f"the map of {origin}", self.max_pixels, stretched=kind in _OF_DEPTH)
        image = self.source.read(index)
        if abs(drawn.width / drawn.height / (image.width / image.height) - 1) > ASPECT:
            raise DataError(
                f"{origin}: its map is of {drawn.width}x{drawn.height} pixels and it of {image.width}x{image.height}, "
                "another proportion; they must show the same"
            )
        return as_png(fitted(drawn, kind, self.transform.size))


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


def _numbers(drawn: Image.Image) -> Image.Image:
    """Grey as floating-point numbers from 0 to 255."""
    return drawn if drawn.mode == "F" else drawn.convert("L").convert("F")


def _is_grey(drawn: Image.Image) -> bool:
    """Whether all three colours are alike in every pixel."""
    if drawn.mode == "F":
        return True
    red, green, blue = drawn.convert("RGB").split()
    return red == green == blue
