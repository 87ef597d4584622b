"""What a run costs before anybody pays for it: operations, bytes and seconds on any number of devices, in closed form.

Operations of a network are counted (`operations`), not looked up, so a formula here begins with a number that is true. Everything
else is arithmetic with two constants of a device, its published speed and the share of it that training reaches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def operations(forward: Callable[[], Any]) -> int:
    """Floating-point operations of a call, two for each multiply-add, as torch counts them; on the meta device none is done."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward()
    return int(counter.get_total_flops())


@dataclass(frozen=True, slots=True)
class Device:
    """What a device can do.

    Attributes:
        name: for tables.
        speed: operations a second, as published, in the precision that trains.
        reached: the share of it that training reaches.
        memory: bytes.
        link: bytes a second, each way, to the others of its node.
        network: bytes a second, each way, to other nodes.
        node: devices of a node.
    """

    name: str
    speed: float
    reached: float
    memory: float
    link: float
    network: float
    node: int = 8

    def bandwidth(self, devices: int) -> float:
        """Bytes a second of the slowest link between so many."""
        return self.link if devices <= self.node else self.network


@dataclass(frozen=True, slots=True)
class Model:
    """What is trained.

    Attributes:
        name: for tables.
        parameters: of the network.
        trained: of them, those that move.
        forward: operations of one pass of one sample.
        encode: operations that an image, and its prompt, take to become a latent.
        latent: (C, H, W).
        kept: bytes that a pass of one sample keeps for the way back.
    """

    name: str
    parameters: int
    trained: int
    forward: float
    encode: float
    latent: Sequence[int]
    kept: float


def step_operations(model: Model, checkpointing: bool = False, cached: bool = True) -> float:
    """Of one sample: the way back takes twice the way there, and under gradient checkpointing goes there again first.

    Where not all parameters move, their gradients are not made, but those of activations are: a third less at most.
    """
    there = model.forward * (4 if checkpointing else 3)
    if model.trained < model.parameters / 2:
        there -= model.forward
    return there + (0 if cached else model.encode)


def state_bytes(model: Model, devices: int = 1, sharded: bool = False, weight: int = 4, other: int = 4) -> float:
    """Weights, and for what moves gradient, two moments and average, on each device; FSDP divides all of it.

    Args:
        model: what is trained.
        devices: in all.
        sharded: FSDP's full sharding.
        weight: bytes of a weight that stays; one that moves is float32.
        other: bytes of a gradient, a moment or an average.
    """
    whole = weight * (model.parameters - model.trained) + (4 + 4 * other) * model.trained
    return whole / devices if sharded else whole


def communication_seconds(model: Model, device: Device, devices: int, sharded: bool = False, size: int = 4) -> float:
    """A step's, not overlapped with work: a ring all-reduce of the gradients takes 2 (n - 1)/n of their bytes over each link.

    FSDP gathers the weights twice and scatters the gradients once, (n - 1)/n of their bytes each.
    """
    share = (devices - 1) / devices
    moved = (2 * size * model.parameters + size * model.trained) if sharded else 2 * size * model.trained
    return share * moved / device.bandwidth(devices)


def step_seconds(
    model: Model, device: Device, devices: int, batch: int, checkpointing: bool = False, sharded: bool = False
) -> float:
    """A step with `batch` samples on each device, nothing overlapped: the slowest that it should be."""
    work = batch * step_operations(model, checkpointing) / (device.speed * device.reached)
    return work + communication_seconds(model, device, devices, sharded)


def bank_operations(model: Model, count: int, steps: int, guided: bool = True) -> float:
    """Of drawing a bank: a pass for each step of the solver, two under guidance; nothing is decoded."""
    return count * steps * (2 if guided else 1) * model.forward


def bank_bytes(model: Model, count: int, itemsize: int = 2) -> int:
    """Of a bank on disk, labels of eight bytes with it."""
    return count * (math.prod(model.latent) * itemsize + 8)


def most_samples(model: Model, device: Device, devices: int, sharded: bool = False, spare: float = 0.9) -> int:
    """Samples that fit beside the state on each device, without gradient checkpointing; 0 where the state does not."""
    room = spare * device.memory - state_bytes(model, devices, sharded)
    return max(0, int(room // model.kept))
