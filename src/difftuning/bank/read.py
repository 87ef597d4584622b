"""Read a finished bank at random, item by item, with next to nothing of it in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from difftuning.bank.card import BankPlan, ShardEntry, differences
from difftuning.bank.card_file import read_card
from difftuning.bank.store import MEND, read_places
from difftuning.errors import BankError
from difftuning.row_files import Place, RowFiles


def is_whole(folder: Path, plan: BankPlan) -> bool:
    """Whether a finished bank of a plan is there, all its shards in full size."""
    try:
        return not differences(Bank(folder).card, plan)
    except BankError:
        return False


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
        self._files = RowFiles([self.folder / entry.file for entry in self.card.shards])
        self._labels = np.empty(len(self), np.int64)
        self._dtype = getattr(torch, self.card.config.dtype)
        shards = zip(self.card.shards, self._files.paths, strict=True)
        self._places = [self._open(entry, path) for entry, path in shards]
        self._latents_at = np.array([place.at for place in self._places])

    def __len__(self) -> int:
        return self.card.config.count

    def _open(self, entry: ShardEntry, path: Path) -> Place:
        """Check a shard, take its labels into memory, and tell where its latents lie."""
        size = path.stat().st_size if path.is_file() else None
        if size != entry.bytes:
            state = "is missing" if size is None else f"has {size} bytes instead of {entry.bytes}"
            raise BankError(f"bank shard {path} {state}; {MEND}")
        labels, latents = read_places(path)
        shape = (entry.stop - entry.start, *self.card.model.sample_shape)
        if (latents.shape, latents.dtype) != (shape, self._dtype):
            raise BankError(
                f"bank shard {path} holds {latents.dtype} {latents.shape} instead of {self._dtype} {shape}; {MEND}"
            )
        with open(path, "rb") as file:
            file.seek(labels.at)
            self._labels[entry.start : entry.stop] = np.fromfile(file, np.int64, shape[0])
        return latents

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
        latents = torch.empty(len(items), *self.card.model.sample_shape, dtype=self._dtype)
        shards, rows = np.divmod(items, self.card.config.shard_size)
        offsets = self._latents_at[shards] + rows * self._places[0].row_bytes
        try:
            self._files.read(self._places[0], latents, shards.tolist(), offsets.tolist())
        except OSError as reason:
            raise BankError(f"bank shard {reason.filename} cannot be read ({reason.strerror}); {MEND}") from reason
        except EOFError as reason:
            raise BankError(f"bank shard {reason}; {MEND}") from reason
        return latents.float()

    def _checked(self, indices: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        items = indices.cpu().numpy()
        if len(items) and not 0 <= items.min() <= items.max() < len(self):
            raise IndexError(f"bank items {items.min()} ... {items.max()} asked for, {self.folder} has {len(self)}")
        return items

    def close(self) -> None:
        """Close its files; it opens them again when read."""
        self._files.close()
