"""The control maps of a target: given in a folder or a column, or made of its images by an annotator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from difftuning.data.base import ImageSource, Skipped
from difftuning.data.control_maps import ControlConfig, ControlMaps, annotated, as_png, is_blank, required_annotator
from difftuning.data.controls import CHANNELS, Annotator, normals
from difftuning.data.decoding import decode
from difftuning.data.folder import files_of, printable
from difftuning.data.joined import Joined
from difftuning.data.transforms import Transform
from difftuning.errors import DataError

_OF_DEPTH = ("depth", "normal")
"""Kinds whose grey maps measure something."""
ASPECT = 0.01
"""By which share the sides of a map may be in another proportion than those of its image."""
STEPS = (64, 8)
"""Annotators round the sides of their maps to multiples of these; those of controlnet-aux to the first."""
SMALLEST = 4
"""The shortest side, in steps, that such a rounding is believed of: of less, anything could be one."""


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
    square = ImageOps.fit(drawn.convert("L" if CHANNELS[kind] == 1 else "RGB"), (size, size), _averaged(kind))
    return torch.from_numpy(np.array(square)).reshape(size, size, -1).permute(2, 0, 1)


def unrounded(map_size: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, int] | None:
    """The size that a map had before its annotator rounded its sides, in its image's proportion; None where none has done so.

    An image is scaled until one of its sides, the shorter mostly, is as wanted, or not at all; then its sides are rounded.
    """
    shorter = int(image_size[1] < image_size[0])
    scales = (*(map_size[side] / image_size[side] for side in (shorter, 1 - shorter)), 1.0)
    for step in STEPS:
        if min(map_size) < SMALLEST * step:
            continue
        for scale in scales:
            across, down = scale * image_size[0], scale * image_size[1]
            if (round(across / step) * step, round(down / step) * step) == map_size:
                return round(across), round(down)
    return None


class GivenMaps:
    """The maps that come with a target.

    Args:
        config: says where; `folder` or `column` is set.
        source: the images.
        transform: to the model's size.
        max_pixels: maps above it are refused.

    Raises:
        DataError: there is no such folder, a place in it would be that of two images or of none, or the target has no such column.
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
            _see_one_image_a_place(config.folder, source)
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
            before = unrounded(drawn.size, image.size)
            if before is None:
                raise DataError(
                    f"{origin}: its map is of {drawn.width}x{drawn.height} pixels and it of {image.width}x{image.height}, "
                    f"another proportion; they must show the same, so resize the map to {image.width}x{image.height}"
                )
            drawn = drawn.resize(before, _averaged(kind))
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
        made = list(made_maps(annotator, config.kind, source, transform, indices, cache_dir).encoded)
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


def made_maps(
    annotator: Annotator,
    kind: str,
    source: ImageSource,
    transform: Transform,
    indices: Sequence[int],
    cache_dir: Path | None,
) -> ControlMaps:
    """The maps that an annotator makes of images of a target."""
    keys = [hashlib.sha256(f"{source.key(index)}/{transform.spec}".encode()).hexdigest() for index in indices]
    return annotated(annotator, kind, keys, lambda place: transform.pixels(source.read(indices[place])), cache_dir)


def _or_reason(get: Callable[[int], Tensor], index: int) -> Tensor | DataError:
    try:
        return get(index)
    except (DataError, OSError) as reason:
        return reason if isinstance(reason, DataError) else DataError(str(reason))


def _see_one_image_a_place(folder: str, source: ImageSource) -> None:
    """See that a map in a folder can be told to be of one image; rows that name one file, each with a caption, are of one."""
    indices: dict[str, list[int]] = {}
    for index in range(len(source)):
        indices.setdefault(source.place(index), []).append(index)
    for place, found in indices.items():
        if len(found) > 1 and len({_content_of(source, index) for index in found}) > 1:
            raise DataError(
                f"control.folder {folder!r} has one place for {place}, and two of the images of {source.name} are called so; give "
                "them other names, or their maps in a column (control.column)"
            )


def _content_of(source: ImageSource, index: int) -> str | None:
    with suppress(DataError):
        return source.key(index)
    return None


def _averaged(kind: str) -> Image.Resampling:
    """How a map is resized: classes must not be mixed, all else is averaged."""
    return Image.Resampling.NEAREST if kind == "segmentation" else Image.Resampling.BOX


def _numbers(drawn: Image.Image) -> Image.Image:
    """Grey as floating-point numbers from 0 to 255."""
    return drawn if drawn.mode == "F" else drawn.convert("L").convert("F")


def _is_grey(drawn: Image.Image) -> bool:
    """Whether all three colours are alike in every pixel."""
    if drawn.mode == "F":
        return True
    red, green, blue = drawn.convert("RGB").split()
    return red == green == blue
