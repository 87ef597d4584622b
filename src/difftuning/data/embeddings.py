"""What text encoders made of prompts, a file each, so that another run of the same encoders does not ask them again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from difftuning.data.tensors import read_tensors, write_tensors
from difftuning.errors import StorageError

CACHE_VERSION = 1
"""Raised when something else would be stored under the same key."""


class EmbeddingFiles:
    """Named tensors by prompt.

    Args:
        folder: of all caches.
        context: the digest of all that decides an embedding besides the prompt; each has files of its own.
    """

    def __init__(self, folder: Path, context: str) -> None:
        whole = hashlib.sha256(f"{context}/{CACHE_VERSION}".encode()).hexdigest()
        self._folder = folder / "prompts" / whole[:32]

    def _path(self, prompt: str) -> Path:
        name = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"

    def get(self, prompt: str) -> Mapping[str, Tensor] | None:
        """What is kept of a prompt; None where nothing is, or it is damaged."""
        return read_tensors(self._path(prompt))

    def put(self, prompt: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep what was made. A cache that cannot be written costs time later and nothing else."""
        try:
            write_tensors(self._path(prompt), tensors)
        except StorageError:
            return
