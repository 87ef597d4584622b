"""The chain of forgetting: what is retained and what is relearned at each noise level (section 3.2 of the paper).

    psi(u) rises    reconsolidation, the weight of the target's error (Eq. 4)
    xi(u) falls     retention, the weight of the knowledge bank's error (Eq. 3)

With `xi = 1 - psi` they sum to 1 at each u, so the total weight over noise levels is that of standard fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from difftuning.coefficients.families import Constant, Curve, Family, Xi, build
from difftuning.errors import ConfigError
from difftuning.noise.clock import Clock
from difftuning.noise.process import NoiseProcess

GRID = 16_000
"""Points on which coefficients are checked and integrated: a multiple of the usual table lengths, such as 1000."""


def midpoints() -> Tensor:
    """The middles of `GRID` equal cells of [0, 1], (GRID,) float64."""
    return (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID


@dataclass(frozen=True, slots=True)
class Complement:
    """xi = 1 - psi."""

    psi: Family

    def __call__(self, u: Tensor, /) -> Tensor:
        """1 - psi(u)."""
        return 1 - self.psi(u)


@dataclass(frozen=True)
class ChainOfForgetting:
    """psi and xi of Eq. 3 to Eq. 5, functions of the clock u in [0, 1], checked when built.

    Attributes:
        psi: reconsolidation, in [0, 1], must not fall.
        xi: retention, in [0, 1], must not rise.
        any_direction: skip the two checks of direction, for ablations that turn the chain round.

    Raises:
        ConfigError: a coefficient leaves [0, 1] or goes the wrong way (the message names it and the u), or both are
            zero everywhere.
    """

    psi: Family
    xi: Family
    any_direction: bool = False

    def __post_init__(self) -> None:
        """Evaluate both on a grid that holds 0 and 1."""
        u = torch.linspace(0, 1, GRID + 1, dtype=torch.float64)
        psi, xi = self.psi(u), self.xi(u)
        for name, family, values in (("psi", self.psi, psi), ("xi", self.xi, xi)):
            outside = ~((values >= 0) & (values <= 1))
            if outside.any():
                at = int(outside.int().argmax())
                raise ConfigError(f"{name} = {family} is {values[at]:.4g} at u = {u[at]:.4f}; keep it within [0, 1]")
        if not self.any_direction:
            _check_direction("psi", self.psi, u, psi.diff(), "rise or stay level")
            _check_direction("xi", self.xi, u, -xi.diff(), "fall or stay level")
        if not self.uses_target and not self.uses_bank:
            raise ConfigError(f"psi = {self.psi} and xi = {self.xi} are both zero; nothing would be trained")

    @classmethod
    def from_psi(cls, psi: Family) -> ChainOfForgetting:
        """The paper's chain, xi = 1 - psi."""
        return cls(psi, Complement(psi))

    def at(self, step: int, /) -> ChainOfForgetting:
        """The chain of a training step: the same at all of them."""
        return self

    @cached_property
    def complementary(self) -> bool:
        """Whether psi + xi = 1 at each u, so that a coin of bias psi(u) can stand for both weights."""
        u = torch.linspace(0, 1, GRID + 1, dtype=torch.float64)
        return bool(((self.psi(u) + self.xi(u) - 1).abs() < 1e-6).all())

    @cached_property
    def uses_target(self) -> bool:
        """Whether psi is above zero anywhere."""
        return bool(self.psi(midpoints()).any())

    @cached_property
    def uses_bank(self) -> bool:
        """Whether xi is above zero anywhere; tau = 0 needs no bank."""
        return bool(self.xi(midpoints()).any())

    @cached_property
    def retained(self) -> float:
        """The integral of xi: the weight of retention over all noise levels."""
        return float(self.xi(midpoints()).mean())

    @cached_property
    def target_share(self) -> float:
        """The integral of psi: the share of the target in training when xi = 1 - psi. 1/(1 + tau) for psi = u^tau."""
        return float(self.psi(midpoints()).mean())


def _check_direction(name: str, family: Family, u: Tensor, step: Tensor, should: str) -> None:
    wrong = step < -1e-9
    if wrong.any():
        at = int(wrong.int().argmax())
        mend = "exchange psi and xi, or set any_direction=True for an ablation"
        raise ConfigError(f"{name} = {family} must {should}, but it does not at u = {u[at]:.4f}; {mend}")


def build_chain(
    psi: Curve,
    xi: Xi | None,
    process: NoiseProcess,
    clock: Clock,
    any_direction: bool = False,
    whole_target: bool = False,
) -> ChainOfForgetting:
    """The chain that configs describe; `xi=None` is 1 - psi, with `whole_target` beside a psi of 1.

    Raises:
        ConfigError: see `ChainOfForgetting`.
    """
    rising = build(psi, process, clock)
    if xi is None:
        return chain_from(rising, whole_target, any_direction)
    return ChainOfForgetting(rising, build(xi, process, clock), any_direction)


def chain_from(psi: Family, whole_target: bool, any_direction: bool = False) -> ChainOfForgetting:
    """The chain of xi = 1 - psi beside that psi, or with `whole_target` beside one of 1.

    Raises:
        ConfigError: see `ChainOfForgetting`.
    """
    return ChainOfForgetting(Constant(1.0) if whole_target else psi, Complement(psi), any_direction)
