"""Batches as a pure function of (seed, step): the draw first, then the data it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from difftuning.bank.mix import TwoStreams
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.realisation import Realisation
from difftuning.data.order import step_generator
from difftuning.noise.clock import Clock
from difftuning.processes import ALONE, Processes
from difftuning.types import Batch


class Chains(Protocol):
    """The chain at each step; a `ChainOfForgetting` is one that stays as it is."""

    def at(self, step: int, /) -> ChainOfForgetting:
        """That of the step after so many."""
        ...


@dataclass(frozen=True)
class DrawnStreams:
    """Makes the draw of a step and fills it.

    Attributes:
        chain: psi and xi at each step.
        clock: the model's training law of t.
        realisation: how psi and xi act.
        streams: target and bank.
        batch_size: samples a step, of all processes together.
        seed: of everything drawn here.
        weight: what the errors at the times (B,) are multiplied by besides; None for nothing.
        processes: each makes its part of every batch, and reads no other items.
    """

    chain: Chains
    clock: Clock
    realisation: Realisation
    streams: TwoStreams
    batch_size: int
    seed: int
    weight: Callable[[Tensor], Tensor] | None = None
    processes: Processes = ALONE

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        """The batch of a step, or the part of this process, after `positions` target and bank items have been used by all."""
        chain, generator = self.chain.at(step), step_generator(self.seed, step, "draw")
        draw = self.realisation.draw(chain, self.clock, self.batch_size, generator)
        if self.weight is not None:
            draw = replace(draw, weight=draw.weight * self.weight(draw.t))
        fill, part = step_generator(self.seed, step, "fill"), self.processes.rows(len(draw))
        return self.streams.batch(draw, *positions, fill, part)
