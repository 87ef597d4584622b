"""What was computed of images, by content, in files of many: made once, and never a stale or damaged one used."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from difftuning.atomic import remove_left_over
from difftuning.data.tensors import read_tensors, tensor_names, write_tensors
from difftuning.errors import StorageError

SHARD_SIZE = 256
"""Tensors that share a file; the work that an interruption can lose."""


class TensorCache:
    """Tensors by key, in files of many.

    Args:
        folder: of one kind of content; None to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._where: dict[str, Path] = {}
        self._known: dict[str, Tensor] = {}
        self._new: dict[str, Tensor] = {}
        self._reused = self._computed = self._damaged = 0
        self._trouble = ""
        # Other data sets of this codec and size share the folder, so a file is read when one of its images is asked for.
        for path in sorted(folder.glob("[!.]*.safetensors")) if folder is not None and folder.is_dir() else ():
            names = tensor_names(path)
            if names is None:
                self._damaged += 1
            else:
                self._where |= dict.fromkeys(names, path)
        self._was_empty = not self._where

    def get(self, key: str) -> Tensor | None:
        """What is kept under a key."""
        if key not in self._known and key in self._where:
            self._read(self._where[key])
        item = self._known.get(key)
        self._reused += item is not None
        return item

    def _read(self, path: Path) -> None:
        found = read_tensors(path)
        if found is None:
            self._damaged += 1
            self._where = {key: place for key, place in self._where.items() if place != path}
        else:
            self._known |= found

    def put(self, key: str, item: Tensor) -> None:
        """Keep what was computed."""
        self._computed += 1
        if self._folder is None:
            return
        self._known[key] = self._new[key] = item
        if len(self._new) >= SHARD_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet. A cache that cannot be written costs time later and nothing else."""
        if self._folder is not None and self._new:
            name = hashlib.sha256("/".join(sorted(self._new)).encode()).hexdigest()[:32]
            try:
                remove_left_over(self._folder)
                write_tensors(self._folder / f"{name}.safetensors", self._new)
            except StorageError as reason:
                self._trouble = f"; they could not be kept: {reason}"
            self._new = {}

    def report(self) -> str:
        """What was reused, what was computed, and why."""
        counts = f"reused {self._reused}, computed {self._computed}"
        if not self._computed:
            return counts
        if self._folder is None:
            because = "no cache was asked for"
        elif self._damaged:
            because = f"{self._damaged} cached file(s) were damaged"
        elif self._was_empty:
            because = "nothing was cached for these settings"
        else:
            because = "the other images are new or have changed"
        return f"{counts}, because {because}{self._trouble}"
