"""The files of a bank: whole or not there, and able to tell by themselves whether they are still what was written.

Everything is written aside, synced and renamed. A shard's name says which items it holds, so a longer last shard never
takes the place of a shorter one that a card still names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from difftuning.atomic import remove_left_over, write_bytes
from difftuning.bank.card import ShardEntry
from difftuning.errors import BankError
from difftuning.row_files import Place, places

PATTERN = "items-*.safetensors"


@dataclass(frozen=True)
class Shard:
    """The content of one file.

    Attributes:
        labels: (n,) int64, what each item was drawn under.
        latents: (n, C, H, W) float16 or float32.
    """

    labels: NDArray[np.int64]
    latents: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def sha256(self) -> str:
        """Of labels and latents."""
        total = hashlib.sha256(np.ascontiguousarray(self.labels).tobytes())
        total.update(np.ascontiguousarray(self.latents).tobytes())
        return total.hexdigest()


def shard_spans(count: int, shard_size: int) -> list[tuple[int, int]]:
    """The first item and one past the last one of each shard."""
    return [(start, min(start + shard_size, count)) for start in range(0, count, shard_size)]


def shard_path(folder: Path, start: int, stop: int) -> Path:
    """The file of items start ... stop - 1."""
    return folder / f"items-{start:08d}-{stop:08d}.safetensors"


def remove_others(folder: Path, keep: set[str]) -> None:
    """Remove what dead processes left half-written, and the shards that are not named in `keep`."""
    remove_left_over(folder)
    for path in folder.glob(PATTERN):
        if path.name not in keep:
            path.unlink(missing_ok=True)


def write_shard(folder: Path, start: int, shard: Shard) -> ShardEntry:
    """Write the items from `start` on; the folder is made when needed.

    Raises:
        StorageError: the disk refuses.
    """
    sha256 = shard.sha256
    path = shard_path(folder, start, start + len(shard))
    # One entry of metadata only: safetensors writes several in random order.
    content = save({"labels": shard.labels, "latents": shard.latents}, metadata={"sha256": sha256})
    write_bytes(path, content)
    return ShardEntry(file=path.name, start=start, stop=start + len(shard), bytes=len(content), sha256=sha256)


def read_shard(path: Path) -> Shard:
    """The whole content of a shard, verified against the digest that it carries.

    Raises:
        BankError: the file is missing, torn or changed.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            expected = (file.metadata() or {}).get("sha256")
            shard = Shard(file.get_tensor("labels"), file.get_tensor("latents"))
    except (OSError, SafetensorError) as reason:
        raise _damaged(path, str(reason)) from reason
    if shard.sha256 != expected:
        raise _damaged(path, "its content is not what was written")
    return shard


def read_places(path: Path) -> tuple[Place, Place]:
    """Where labels and latents lie in a shard, from its header alone.

    Raises:
        BankError: the file is missing or its header cannot be read.
    """
    try:
        found = places(path)
        return found["labels"], found["latents"]
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise _damaged(path, f"{type(reason).__name__}: {reason}") from reason


def _damaged(path: Path, reason: str) -> BankError:
    return BankError(f"bank shard {path} is missing or damaged ({reason}); {MEND}")


MEND = "run `difftuning bank build` again, which redraws what is missing or damaged"
