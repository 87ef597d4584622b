"""Where things that can be made again are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of the environment variable DIFFTUNING_CACHE, else `difftuning` in the user's cache folder."""
    if chosen := os.environ.get("DIFFTUNING_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "difftuning"
