"""What training holds in memory: parameters are counted, and activations are what a forward pass keeps for the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = 2
"""Of AdamW, for each parameter that trains; as many bytes as the parameter each."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by what they hold.

    Attributes:
        weights: of the whole network, and of what else lies on the device.
        gradients: of what trains.
        moments: of AdamW.
        average: of what trains; 0 where it lies elsewhere.
        activations: what a pass keeps for the way back.
    """

    weights: int
    gradients: int
    moments: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, which is the peak but for what kernels use meanwhile."""
        return self.weights + self.gradients + self.moments + self.average + self.activations


def held(
    weights: Iterable[Tensor],
    trained: Iterable[Tensor],
    average: bool = True,
    activations: int = 0,
    eight_bit: bool = False,
) -> Memory:
    """What a run holds.

    Args:
        weights: all of the device's parameters and buffers; one that is named twice counts once.
        trained: those that move.
        average: whether their average lies beside them.
        activations: in bytes, of a pass.
        eight_bit: the moments of float32 parameters take a quarter.
    """
    moving = size_of(trained)
    return Memory(
        size_of(weights), moving, MOMENTS * moving // (4 if eight_bit else 1), moving if average else 0, activations
    )


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors, one that is named twice once."""
    return sum({id(tensor): tensor.nbytes for tensor in tensors}.values())


def kept(network: nn.Module, forward: Callable[[], Any]) -> int:
    """Bytes that autograd keeps of a forward pass, parameters not counted; on the meta device too, where nothing is computed.

    Args:
        network: whose parameters those are.
        forward: a pass with gradient.
    """
    own = {_storage(parameter) for parameter in (*network.parameters(), *network.buffers())}
    found: dict[int, int] = {}
    alive: list[Tensor] = []  # a storage that is freed would lend its address to the next one

    def keep(tensor: Tensor) -> Tensor:
        if (storage := _storage(tensor)) not in own:
            found[storage] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(found.values())


def activations(kept_of: Callable[[int], int], samples: int) -> int:
    """Bytes that a pass of so many samples keeps, from passes of one and of two.

    What does not grow with them, such as the copies of weights that autocast makes, is there once.

    Args:
        kept_of: number of samples to bytes, by `kept`.
        samples: of a pass.
    """
    one = kept_of(1)
    return one if samples == 1 else one + (samples - 1) * (kept_of(2) - one)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
