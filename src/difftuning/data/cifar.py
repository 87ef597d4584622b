"""CIFAR-10 in its binary version: records of one byte for the class and 3,072 for the pixels, plane by plane."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from difftuning.data.base import ImageSource
from difftuning.errors import DataError

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
NAMES = "batches.meta.txt"


class Cifar10(ImageSource):
    """The training images, `data_batch_1.bin` and on; those of `test_batch.bin` are left out.

    The version for Python is pickled, and a pickle may run what it likes when it is read.

    Args:
        folder: of the unpacked archive; never written to.

    Raises:
        DataError: a file is missing, is not whole, or holds a class that has no name.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        files = sorted(folder.glob("data_batch_*.bin"))
        if not files or not (folder / NAMES).is_file():
            raise DataError(
                f"{folder} holds no data_batch_*.bin with {NAMES}; unpack cifar-10-binary.tar.gz there again"
            )
        self.class_names = tuple((folder / NAMES).read_text(encoding="utf-8").split())
        parts = []
        for file in files:
            content = np.fromfile(file, np.uint8)
            if len(content) % RECORD:
                raise DataError(f"{file} has {len(content)} bytes, no multiple of {RECORD}; unpack it again")
            parts.append(content.reshape(-1, RECORD))
        self._records = np.concatenate(parts)
        worst = int(self._records[:, 0].max(initial=0))
        if worst >= len(self.class_names):
            raise DataError(
                f"{folder} holds the class {worst}, and {NAMES} names {len(self.class_names)}; unpack it again"
            )

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._records)

    def read(self, index: int) -> Image.Image:
        """The image, RGB."""
        planes = self._records[index, 1:].reshape(3, SIDE, SIDE)
        return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)), "RGB")

    def label(self, index: int) -> int:
        """Its class."""
        return int(self._records[index, 0])

    def key(self, index: int) -> str:
        """The sha256 of its pixels."""
        return hashlib.sha256(self._records[index, 1:].tobytes()).hexdigest()

    def origin(self, index: int) -> str:
        """Its place among the records."""
        return f"record {index}"
