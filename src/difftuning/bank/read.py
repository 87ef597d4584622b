"""Read a finished bank at random, item by item, with next to nothing of it in memory.

Rows are read from the files into the answer (preadv), not mapped: the pages of a mapping count as memory of the process
once they are touched.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from difftuning.bank.card import ShardEntry
from difftuning.bank.card_file import read_card
from difftuning.bank.store import MEND, read_layout
from difftuning.errors import BankError

# Well below the usual limits of open files of a process (256 to 1024); further shards are opened for each read.
_OPEN_FILES = 128


class Bank:
    """A finished bank.

    Opening checks that every shard is there in full size; `difftuning.bank.audit.verify` reads them too.

    Args:
        folder: with a card.json.

    Attributes:
        card: what it is.
        digest: its identity, for checkpoints.

    Raises:
        BankError: there is no finished bank, or a shard is missing or torn.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.card = read_card(self.folder)
        self.digest = self.card.digest()
        self._paths = [self.folder / entry.file for entry in self.card.shards]
        self._files: dict[int, int] = {}
        self._labels = np.empty(len(self), np.int64)
        starts = [self._open(entry, path) for entry, path in zip(self.card.shards, self._paths, strict=True)]
        self._latents_at = np.array(starts)
        self._dtype = getattr(torch, self.card.config.dtype)
        self._item_bytes = int(np.prod(self.card.model.sample_shape)) * self._dtype.itemsize

    def __len__(self) -> int:
        return self.card.config.count

    def _open(self, entry: ShardEntry, path: Path) -> int:
        """Check a shard, take its labels into memory, and tell where its latents begin."""
        size = path.stat().st_size if path.is_file() else None
        if size != entry.bytes:
            state = "is missing" if size is None else f"has {size} bytes instead of {entry.bytes}"
            raise BankError(f"bank shard {path} {state}; {MEND}")
        layout = read_layout(path)
        shape, dtype = (entry.stop - entry.start, *self.card.model.sample_shape), np.dtype(self.card.config.dtype)
        if (layout.shape, layout.dtype) != (shape, dtype):
            raise BankError(f"bank shard {path} holds {layout.dtype} {layout.shape} instead of {dtype} {shape}; {MEND}")
        with open(path, "rb") as file:
            file.seek(layout.labels_at)
            self._labels[entry.start : entry.stop] = np.fromfile(file, np.int64, shape[0])
        return layout.latents_at

    def labels(self, indices: Tensor) -> Tensor:
        """What items were drawn under, (n,) int64; training does not see it."""
        return torch.from_numpy(self._labels[self._checked(indices)])

    def get(self, indices: Tensor) -> Tensor:
        """The items at `indices` (n,) int64 in [0, len), as (n, C, H, W) float32.

        Raises:
            IndexError: an index is out of range.
            BankError: a shard has gone or shrunk since the bank was opened.
        """
        items = self._checked(indices)
        shards, rows = np.divmod(items, self.card.config.shard_size)
        offsets = self._latents_at[shards] + rows * self._item_bytes
        latents = torch.empty(len(items), *self.card.model.sample_shape, dtype=self._dtype)
        buffer = latents.numpy().reshape(-1).view(np.uint8).data
        for place, (shard, offset) in enumerate(zip(shards.tolist(), offsets.tolist(), strict=True)):
            self._read(shard, offset, buffer[place * self._item_bytes : (place + 1) * self._item_bytes])
        return latents.float()

    def _checked(self, indices: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        items = indices.cpu().numpy()
        if len(items) and not 0 <= items.min() <= items.max() < len(self):
            raise IndexError(f"bank items {items.min()} ... {items.max()} asked for, {self.folder} has {len(self)}")
        return items

    def _read(self, shard: int, offset: int, into: memoryview) -> None:
        try:
            file = self._files.get(shard)
            if file is not None:
                read = os.preadv(file, [into], offset)
            elif len(self._files) < _OPEN_FILES:
                self._files[shard] = os.open(self._paths[shard], os.O_RDONLY)
                read = os.preadv(self._files[shard], [into], offset)
            else:
                with open(self._paths[shard], "rb", buffering=0) as once:
                    read = os.preadv(once.fileno(), [into], offset)
        except OSError as reason:
            raise BankError(f"bank shard {self._paths[shard]} cannot be read ({reason}); {MEND}") from reason
        if read != len(into):
            raise BankError(f"bank shard {self._paths[shard]} ends too early; {MEND}")

    def close(self) -> None:
        """Close its files; it opens them again when read."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()
