"""How psi and xi act on a batch: three estimators of Eq. 5, each drawn before any data is fetched.

    Source     t by the model's own law, then the item from the target with probability psi(u), else from the bank (the
               paper's appendix D; the default)
    Timestep   a fixed split of the batch, with separate laws of t for the two streams (the authors' released code)
    Weight     a fixed split, t by the model's own law, errors multiplied by psi and xi (Eq. 3 to 5 as printed)

The loss is `mean(weight * error)` over the batch in all of them, and its mean is

    E_u[ psi(u) error_target(u) + xi(u) error_bank(u) ]

except for Timestep with the constants of the code. When xi is zero everywhere (tau = 0) all draw from the target alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from difftuning.coefficients.chain import ChainOfForgetting, midpoints
from difftuning.coefficients.families import Family
from difftuning.config.section import Section
from difftuning.errors import ConfigError
from difftuning.noise.clock import Clock
from difftuning.types import Draw

GOLDEN = (math.sqrt(5) - 1) / 2


class Realisation(ABC):
    """A way to draw times, sources and weights."""

    @abstractmethod
    def draw(self, chain: ChainOfForgetting, clock: Clock, batch_size: int, generator: torch.Generator) -> Draw:
        """One batch's draw, on the generator's device; a pure function of the generator's state.

        Raises:
            ConfigError: the batch is too small to be split.
        """


class SourceConfig(Section):
    """The target with probability psi/(psi + xi), else the bank, weight psi + xi, 1 for xi = 1 - psi: one pass, no extra cost."""

    kind: Literal["source"] = "source"
    stratified: bool = False
    """Spread u and the choice of source evenly over each batch (the same mean, a lower variance)."""


class TimestepConfig(Section):
    """A fixed split with separate laws of t, as the authors' released code does it."""

    kind: Literal["timestep"] = "timestep"
    bank_share: float = Field(default=0.2, ge=0, lt=1)
    """The share of the batch that comes from the bank, rounded down but at least one sample; 6 of 32 in the code."""
    bank_weight: float = Field(default=0.1, ge=0)
    """What the bank's mean error is multiplied by; not used with `unbiased`."""
    unbiased: bool = False
    """Multiply the two means by E[psi] and E[xi] instead of by 1 and `bank_weight`, which agrees in mean with Eq. 5."""
    stratified: bool = False
    """Spread u evenly over each stream of the batch (the same mean, a lower variance)."""


class WeightConfig(Section):
    """Half of the batch from each stream, errors multiplied by psi and xi."""

    kind: Literal["weight"] = "weight"
    stratified: bool = False
    """Spread u evenly over each stream of the batch (the same mean, a lower variance)."""


RealisationConfig = Annotated[SourceConfig | TimestepConfig | WeightConfig, Field(discriminator="kind")]


class Source(Realisation):
    """t by its own law, the item from the target with probability psi(u), else from the bank, weight 1.

    That needs psi + xi = 1. For other chains (the ablations xi = 0, or psi = 1 with xi = 1 - u) the general importance
    form is used: the target with probability psi/(psi + xi), weight psi + xi.
    """

    def __init__(self, config: SourceConfig | None = None) -> None:
        self.config = config or SourceConfig()

    def draw(self, chain: ChainOfForgetting, clock: Clock, batch_size: int, generator: torch.Generator) -> Draw:
        """See `Realisation.draw`; no batch is too small."""
        rank, coin = _uniform_pairs(batch_size, self.config.stratified, generator)
        t = clock.t(rank)
        u = clock.u(t)
        psi = chain.psi(u)
        if chain.complementary:
            return _as_draw(t, u, coin >= psi, torch.ones_like(u))
        mass = psi + chain.xi(u)
        # Where both coefficients are zero the weight is, and the source does not matter.
        return _as_draw(t, u, coin * mass >= psi.where(mass > 0, 1), mass)


class Timestep(Realisation):
    """A fixed split, target times with density psi(u), bank times with density xi(u).

    The code's loss is mean(target) + 0.1 mean(bank): as a mean over the batch, weights B / n_target and 0.1 B / n_bank.
    For its memory law (1 - u)^tau, give the chain `xi=PowerOfComplement(tau)`. The code counts indices from 1, our
    clock takes midpoints, which shifts the densities by 1/(2T).
    """

    def __init__(self, config: TimestepConfig | None = None) -> None:
        self.config = config or TimestepConfig()

    def draw(self, chain: ChainOfForgetting, clock: Clock, batch_size: int, generator: torch.Generator) -> Draw:
        """See `Realisation.draw`."""
        # .29 of 100 is a little less than 29 in floating point.
        bank = max(1, int(batch_size * self.config.bank_share + 1e-9)) if self.config.bank_share else 0
        counts = _split(chain, batch_size, bank)
        ranks, weights = [], []
        for count, family, constant in zip(counts, (chain.psi, chain.xi), (1.0, self.config.bank_weight), strict=True):
            if count:
                uniform, _ = _uniform_pairs(count, self.config.stratified, generator)
                distribution, mean = _law(family, clock)
                ranks.append(_inverse_cdf(distribution.to(uniform.device), uniform))
                factor = mean if self.config.unbiased else constant
                weights.append(torch.full_like(uniform, factor * batch_size / count))
        t = clock.t(torch.cat(ranks))
        return _as_draw(t, clock.u(t), _second(counts, t), torch.cat(weights))


class Weight(Realisation):
    """Eq. 3 to 5 as printed: half of the slots from each stream, t by its own law, weights 2 psi(u) and 2 xi(u).

    For an odd batch the target has one slot more and the factors are B / n_target and B / n_bank.
    """

    def __init__(self, config: WeightConfig | None = None) -> None:
        self.config = config or WeightConfig()

    def draw(self, chain: ChainOfForgetting, clock: Clock, batch_size: int, generator: torch.Generator) -> Draw:
        """See `Realisation.draw`."""
        counts = _split(chain, batch_size, max(1, batch_size // 2))
        times, weights = [], []
        for count, family in zip(counts, (chain.psi, chain.xi), strict=True):
            if count:
                rank, _ = _uniform_pairs(count, self.config.stratified, generator)
                times.append(clock.t(rank))
                weights.append(family(clock.u(times[-1])) * batch_size / count)
        t = torch.cat(times)
        return _as_draw(t, clock.u(t), _second(counts, t), torch.cat(weights))


KINDS: dict[str, tuple[type[BaseModel], Callable[[Any], Realisation]]] = {
    "source": (SourceConfig, Source),
    "timestep": (TimestepConfig, Timestep),
    "weight": (WeightConfig, Weight),
}
"""Name to (config, realisation)."""


def build_realisation(config: SourceConfig | TimestepConfig | WeightConfig) -> Realisation:
    """The realisation that a config describes."""
    _, make = KINDS[config.kind]
    return make(config)


def _uniform_pairs(count: int, stratified: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` points of the unit square, each uniform over it: two (count,) float64.

    Stratified: the first coordinate has one point in each of `count` equal cells, at a random place of the cell; the
    second is a golden-ratio sequence along the cells with one random shift, so neighbouring cells have evenly spread
    coins. Jitter and shift keep the mean of any function of a point exact. Shuffled, so a slot tells nothing of its
    noise level.
    """
    first, second = torch.rand(2, count, dtype=torch.float64, generator=generator, device=generator.device)
    if not stratified:
        return first, second
    cell = torch.arange(count, dtype=torch.float64, device=generator.device)
    shuffle = torch.randperm(count, generator=generator, device=generator.device)
    return ((cell + first) / count)[shuffle], ((cell * GOLDEN + second[0]) % 1)[shuffle]


@lru_cache(maxsize=16)
def _law(family: Family, clock: Clock) -> tuple[Tensor, float]:
    """The distribution function of the density family(u) over a grid of ranks, (GRID,) float64, and the family's mean.

    Taken at the u that the clock really gives, so it is exact for a table of indices. Cached: each step needs the same.
    """
    values = family(clock.u(clock.t(midpoints())))
    mass = values.cumsum(0)
    return mass / mass[-1], float(values.mean())


def _split(chain: ChainOfForgetting, batch_size: int, bank: int) -> tuple[int, int]:
    """(n_target, n_bank), without the stream whose coefficient is zero everywhere."""
    if not chain.uses_bank:
        return batch_size, 0
    if not chain.uses_target:
        return 0, batch_size
    if bank >= batch_size:
        raise ConfigError(f"a batch of {batch_size} cannot be split; use 2 or more, or realisation 'source'")
    return batch_size - bank, bank


def _inverse_cdf(above: Tensor, uniform: Tensor) -> Tensor:
    """Ranks with the distribution function `above` at the end of each cell: uniform (n,) in [0, 1) -> (n,)."""
    cell = torch.searchsorted(above, uniform, right=True)
    below = torch.where(cell > 0, above[cell - 1], 0.0)
    inside = ((uniform - below) / (above[cell] - below)).clamp(0, 1)
    return (cell + inside) / len(above)


def _second(counts: tuple[int, int], like: Tensor) -> Tensor:
    """True in the bank's slots, which follow the target's."""
    return torch.arange(sum(counts), device=like.device) >= counts[0]


def _as_draw(t: Tensor, u: Tensor, from_bank: Tensor, weight: Tensor) -> Draw:
    return Draw(t.float(), u.float(), from_bank, weight.float())
