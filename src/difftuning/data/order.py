"""The order of data, as a pure function of (seed, position): exact resume needs no loader state."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor


def step_generator(seed: int, step: int, stream: str) -> torch.Generator:
    """A CPU generator for one step of one named stream, unrelated to that of any other."""
    digest = hashlib.sha256(f"{seed}:{step}:{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)


class Order:
    """An endless stream over `length` items: one random permutation after the other.

    Every item comes once before any comes twice.

    Args:
        seed: of the permutations.
        length: how many items, at least 1.
    """

    def __init__(self, seed: int, length: int) -> None:
        if length < 1:
            raise ValueError(f"an order needs at least one item, got {length}")
        self.seed, self.length = seed, length
        self._epoch = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> Tensor:
        return torch.randperm(self.length, generator=step_generator(self.seed, epoch, "order"))

    def indices(self, start: int, count: int) -> Tensor:
        """The items at positions start ... start + count - 1, (count,) int64."""
        parts, position, end = [torch.empty(0, dtype=torch.int64)], start, start + count
        while position < end:
            epoch, offset = divmod(position, self.length)
            taken = min(self.length - offset, end - position)
            parts.append(self._epoch(epoch)[offset : offset + taken])
            position += taken
        return torch.cat(parts)
