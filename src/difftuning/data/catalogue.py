"""Targets that are known by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from difftuning.data.base import ImageSource
from difftuning.errors import DataError

FOLDER = "DIFFTUNING_DATA"
"""The environment variable that names the folders of the benchmark's files, parted as in PATH."""
MAX_PIXELS = 2**20

FILES: Mapping[str, str] = MappingProxyType(
    {
        "fashion-mnist": "fashion_mnist.parquet",
        "flowers5": "flowers5_64.parquet",
        "imagenet200": "imagenet200_32_train.parquet",
        "noto": "noto_32.parquet",
        "pacs-art-painting": "pacs_art_painting_64.parquet",
        "pacs-cartoon": "pacs_cartoon_64.parquet",
        "pacs-photo": "pacs_photo_64.parquet",
        "twemoji": "twemoji_32.parquet",
    }
)
"""The images of the studies: name -> parquet file with the columns `image` and `label`. A row here adds one."""


def _openmoji(size: int, cache: Path | None) -> ImageSource:
    # Imported when asked for: opening a folder should not need the font's package.
    from difftuning.data.openmoji import OpenMoji

    return OpenMoji(size, cache)


def _file(name: str, size: int, cache: Path | None) -> ImageSource:
    from difftuning.data.hub import DatasetSource, load_rows

    folders = os.environ.get(FOLDER, "data").split(os.pathsep)
    path = next((found for folder in folders if (found := Path(folder) / FILES[name]).is_file()), None)
    if path is None:
        raise DataError(
            f"data.target {name!r} is read from {FILES[name]}, which is not in {' or '.join(folders)}; name its folder in "
            f"{FOLDER} (docs/how-to/studies.md says how to make it), or set data.target to a folder of images"
        )
    return DatasetSource(name, load_rows(name, path, "train", None), "image", "label", None, MAX_PIXELS)


KINDS: Mapping[str, Callable[[int, Path | None], ImageSource]] = MappingProxyType(
    {"openmoji": _openmoji, **{name: partial(_file, name) for name in FILES}}
)
"""Name to what opens it, from the image side in pixels and the folder of caches."""
