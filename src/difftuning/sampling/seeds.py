"""One sample, one seed: all randomness of item i depends on (seed, i) alone, so batches never change a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

# torch's CPU generator keeps the low 32 bits of a seed, so hashing (seed, index) would let two items of a large bank
# collide. An odd multiplier permutes the 32-bit numbers: no two items of one seed and stream share a generator.
_STRIDE = 0x9E3779B1
_RANGE = 2**32


def generators(seed: int, indices: Iterable[int], stream: str = "solver") -> list[torch.Generator]:
    """A CPU generator for each item.

    Args:
        seed: of the whole bank or run.
        indices: the items, each >= 0.
        stream: what the numbers are for; streams of one seed are unrelated.
    """
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    base = int.from_bytes(digest[:4], "big")
    return [torch.Generator().manual_seed((base + _STRIDE * index) % _RANGE) for index in indices]


def sample_noise(seed: int, indices: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal noise (len(indices), *shape), float32 on the CPU; row i depends on (seed, indices[i]) only."""
    noise = torch.empty(len(indices), *shape)
    for row, generator in zip(noise, generators(seed, indices, stream="noise"), strict=True):
        torch.randn(tuple(shape), generator=generator, out=row)
    return noise
