"""Rows of tensors in safetensors files, read at random with next to nothing of them in memory.

Rows are read from the files into the answer (preadv), not mapped: the pages of a mapping count as memory of the process
once they are touched.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DTYPES = {"F16": torch.float16, "F32": torch.float32, "I32": torch.int32, "I64": torch.int64, "U8": torch.uint8}

# Well below the usual limits of open files of a process (256 to 1024); further files are opened for each read.
_OPEN_FILES = 128


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies in a file.

    Attributes:
        shape: of the tensor; its first axis are the rows.
        dtype: of its numbers.
        at: offset of its first byte.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    at: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def places(path: Path) -> dict[str, Place]:
    """Where the tensors of a file lie, from its header alone.

    Raises:
        OSError: the file cannot be read.
        ValueError, KeyError, TypeError: it is no such file.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("the header is longer than the file")
        header = json.loads(file.read(length))
    return {
        name: Place(tuple(entry["shape"]), DTYPES[entry["dtype"]], 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__"
    }


class RowFiles:
    """Files that rows are read from; those that are read most are kept open."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._files: dict[int, int] = {}

    def read(self, place: Place, into: Tensor, files: Sequence[int], offsets: Sequence[int]) -> None:
        """Fill `into` (n, ...), whose rows are like those of `place`, with the rows at n offsets of n files.

        Raises:
            OSError: a file cannot be read; its `filename` says which.
            EOFError: one ends too early.
        """
        buffer, size = into.numpy().reshape(-1).view(np.uint8).data, place.row_bytes
        for row, (file, offset) in enumerate(zip(files, offsets, strict=True)):
            view = buffer[row * size : (row + 1) * size]
            try:
                found = self._fill(file, offset, view)
            except OSError as reason:
                raise OSError(reason.errno, reason.strerror, str(self.paths[file])) from reason
            if found != size:
                raise EOFError(f"{self.paths[file]} ends too early")

    def _fill(self, file: int, offset: int, into: memoryview) -> int:
        if (known := self._files.get(file)) is None and len(self._files) < _OPEN_FILES:
            known = self._files[file] = os.open(self.paths[file], os.O_RDONLY)
        if known is not None:
            return os.preadv(known, [into], offset)
        with open(self.paths[file], "rb", buffering=0) as once:
            return os.preadv(once.fileno(), [into], offset)

    def close(self) -> None:
        """Close the files; they are opened again when read."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()
