"""Targets that are known by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from difftuning.data.base import ImageSource


def _openmoji(size: int, cache: Path | None) -> ImageSource:
    # Imported when asked for: opening a folder should not need the font's package.
    from difftuning.data.openmoji import OpenMoji

    return OpenMoji(size, cache)


KINDS: dict[str, Callable[[int, Path | None], ImageSource]] = {"openmoji": _openmoji}
"""Name to what opens it, from the image side in pixels and the folder of caches."""
