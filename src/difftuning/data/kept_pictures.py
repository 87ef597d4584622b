"""Pictures that were kept of a set that is read once: enough to judge by, at the model's size, and read from disk one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from difftuning.data.base import ImageSource
from difftuning.errors import DataError
from difftuning.row_files import RowFiles, places

PICTURES = "pictures"
"""The tensor of a file that holds them, (n, 3, S, S) uint8."""


class Pictures(ImageSource):
    """Pictures in files.

    Args:
        name: of the set.
        class_names: the label space.
        files: with a tensor `pictures` each.
        where: file and row of each picture.
        labels: of each.
    """

    def __init__(
        self,
        name: str,
        class_names: tuple[str, ...],
        files: Sequence[Path],
        where: Sequence[tuple[int, int]],
        labels: Sequence[int],
    ) -> None:
        self.name, self.class_names = name, class_names
        self._files, self._places = RowFiles(files), [places(file)[PICTURES] for file in files]
        self._where, self._labels = where, labels

    def __len__(self) -> int:
        """How many were kept."""
        return len(self._labels)

    def read(self, index: int) -> Image.Image:
        """The picture, RGB."""
        return Image.fromarray(self._pixels(index).permute(1, 2, 0).numpy())

    def label(self, index: int) -> int:
        """Its class."""
        return self._labels[index]

    def key(self, index: int) -> str:
        """The sha256 of its pixels."""
        return hashlib.sha256(self._pixels(index).numpy().tobytes()).hexdigest()

    def origin(self, index: int) -> str:
        """Its place among those kept."""
        return f"picture {index} kept of {self.name}"

    def _pixels(self, index: int) -> Tensor:
        file, row = self._where[index]
        place = self._places[file]
        found = torch.empty(1, *place.shape[1:], dtype=place.dtype)
        try:
            self._files.read(place, found, [file], [place.at + row * place.row_bytes])
        except (OSError, EOFError) as reason:
            raise DataError(f"{self.origin(index)} cannot be read ({reason}); run the same command again") from reason
        return found[0]
