"""The order of data, as a pure function of (seed, position): exact resume needs no loader state."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor

LISTED = 2**20
"""Up to so many items a permutation is listed (8 MiB); above, it is computed item by item."""
_ROUNDS = 8


def step_generator(seed: int, step: int, stream: str) -> torch.Generator:
    """A CPU generator for one step of one named stream, unrelated to that of any other."""
    digest = hashlib.sha256(f"{seed}:{step}:{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)


class Order:
    """An endless stream over `length` items: one random permutation after the other.

    Every item comes once before any comes twice. Its memory does not grow with `length`.

    Args:
        seed: of the permutations.
        length: how many items, 1 to 2**48.
    """

    def __init__(self, seed: int, length: int) -> None:
        if not 1 <= length <= 2**48:
            raise ValueError(f"an order needs 1 to 2**48 items, got {length}")
        self.seed, self.length = seed, length
        self._listed = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> Tensor:
        return torch.randperm(self.length, generator=step_generator(self.seed, epoch, "order"))

    def indices(self, start: int, count: int) -> Tensor:
        """The items at positions start ... start + count - 1, (count,) int64."""
        parts, position, end = [torch.empty(0, dtype=torch.int64)], start, start + count
        while position < end:
            epoch, offset = divmod(position, self.length)
            taken = min(self.length - offset, end - position)
            if self.length <= LISTED:
                parts.append(self._listed(epoch)[offset : offset + taken])
            else:
                generator = step_generator(self.seed, epoch, "order")
                parts.append(permuted(torch.arange(offset, offset + taken), self.length, generator))
            position += taken
        return torch.cat(parts)


def permuted(positions: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Where a random permutation of range(length) sends positions (n,) int64: a Feistel network with cycle walking.

    The network permutes the numbers of 2b bits, of which there are less than 4 * length; who lands outside goes on until inside
    (Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002). The generator gives the keys of the rounds.
    """
    half = max(1, ((length - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = torch.randint(2**62, (_ROUNDS,), generator=generator).tolist()
    found = positions.clone()
    outside = torch.ones_like(positions, dtype=torch.bool)
    while bool(outside.any()):
        left, right = found[outside] >> half, found[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        found[outside] = (left << half) | right
        outside = found >= length
    return found


def _mixed(value: Tensor) -> Tensor:
    """Well-mixed bits of int64 numbers, which wrap around: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        value = (value ^ _shifted(value, shift)) * factor
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """A logical shift to the right: no copies of the sign come in."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
