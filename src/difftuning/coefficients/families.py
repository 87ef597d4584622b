"""Families of coefficients over the forgetting clock: functions of u in [0, 1] and of nothing else.

psi (reconsolidation) rises with u, xi (retention) falls; section 3.2 of the paper takes psi = u^tau, xi = 1 - psi, and
studies psi = 1/(1 + SNR) beside it. A family is a small frozen value that is called with u of any shape and answers
in the same shape and dtype. That it stays within [0, 1] and has the right direction is checked by `ChainOfForgetting`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from difftuning.config.section import Section
from difftuning.errors import ConfigError, did_you_mean
from difftuning.noise.clock import Clock
from difftuning.noise.process import NoiseProcess


class Family(Protocol):
    """A coefficient: u of any shape in [0, 1] -> the same shape in [0, 1]. Frozen, so that it can be hashed."""

    def __hash__(self) -> int:
        """By value or by identity."""
        ...

    def __call__(self, u: Tensor, /) -> Tensor:
        """The coefficient at u."""
        ...


@dataclass(frozen=True, slots=True)
class Power:
    """psi = u^tau. tau = 1 is the paper's default; tau = 0 is 1 everywhere, u = 0 included: standard fine-tuning."""

    tau: float

    def __call__(self, u: Tensor, /) -> Tensor:
        """u^tau."""
        return u**self.tau


@dataclass(frozen=True, slots=True)
class PowerOfComplement:
    """xi = (1 - u)^tau, the memory law of the authors' released code; it is 1 - u^tau at tau = 1 only."""

    tau: float

    def __call__(self, u: Tensor, /) -> Tensor:
        """(1 - u)^tau."""
        return (1 - u) ** self.tau


@dataclass(frozen=True, slots=True)
class SNR:
    """psi = 1/(1 + SNR), SNR = alpha^2/sigma^2 at the time of rank u: 1 - alphas_cumprod if variance is preserved."""

    process: NoiseProcess
    clock: Clock

    def __call__(self, u: Tensor, /) -> Tensor:
        """sigmoid(-log SNR(t(u)))."""
        return torch.sigmoid(-self.process.log_snr(self.clock.t(u))).to(u.dtype)


@dataclass(frozen=True, slots=True)
class Constant:
    """The same value at each u."""

    value: float

    def __call__(self, u: Tensor, /) -> Tensor:
        """The value, in the shape of u."""
        return torch.full_like(u, self.value)


@dataclass(frozen=True, slots=True)
class Step:
    """0 below `at`, 1 from there on: retention alone at low noise, reconsolidation alone above."""

    at: float

    def __call__(self, u: Tensor, /) -> Tensor:
        """1 where u >= at."""
        return (u >= self.at).to(u.dtype)


@dataclass(frozen=True, slots=True)
class Ramp:
    """0 up to `start`, 1 from `stop` on, linear between."""

    start: float
    stop: float

    def __call__(self, u: Tensor, /) -> Tensor:
        """(u - start) / (stop - start), clamped to [0, 1]."""
        return ((u - self.start) / (self.stop - self.start)).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class Measured:
    """Linear interpolation between measured points, constant beyond the first and the last.

    Attributes:
        knots: at least two (u, psi), u strictly rising.

    Raises:
        ConfigError: fewer than two knots, or u does not rise.
    """

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Check what interpolation needs."""
        at = [u for u, _ in self.knots]
        if len(at) < 2 or any(low >= high for low, high in pairwise(at)):
            raise ConfigError(f"measured coefficients need two or more knots [u, psi] with u rising, got u = {at}")

    def __call__(self, u: Tensor, /) -> Tensor:
        """The interpolated value at u."""
        at, value = torch.tensor(self.knots, dtype=torch.float64).T.contiguous()
        inside = u.cpu().to(torch.float64).clamp(at[0], at[-1])  # some devices have no float64
        high = torch.searchsorted(at, inside).clamp(1, len(at) - 1)
        low = high - 1
        fraction = (inside - at[low]) / (at[high] - at[low])
        return torch.lerp(value[low], value[high], fraction).to(u)


class PowerConfig(Section):
    """psi = u^tau."""

    kind: Literal["power"] = "power"
    tau: float = Field(default=1.0, ge=0)
    """0 is standard fine-tuning; the paper studies 0.3, 0.5, 0.7, 1 and 1.5."""


class PowerOfComplementConfig(Section):
    """xi = (1 - u)^tau, as the authors' released code has it."""

    kind: Literal["power-of-complement"] = "power-of-complement"
    tau: float = Field(default=1.0, ge=0)
    """The exponent; 0 retains alike at every noise level."""


class SNRConfig(Section):
    """psi = 1/(1 + SNR)."""

    kind: Literal["snr"] = "snr"


class ConstantConfig(Section):
    """The same coefficient at every noise level."""

    kind: Literal["constant"] = "constant"
    value: float = Field(ge=0, le=1)
    """The coefficient."""


class StepConfig(Section):
    """A hard switch from retention to reconsolidation."""

    kind: Literal["step"] = "step"
    at: float = Field(ge=0, le=1)
    """The u of the switch."""


class RampConfig(Section):
    """Retention alone below `start`, reconsolidation alone above `stop`."""

    kind: Literal["ramp"] = "ramp"
    start: float = Field(ge=0, le=1)
    """Where psi leaves 0."""
    stop: float = Field(ge=0, le=1)
    """Where psi reaches 1."""


class MeasuredConfig(Section):
    """A curve through measured points."""

    kind: Literal["measured"] = "measured"
    knots: tuple[tuple[float, float], ...]
    """Pairs [u, psi] with u rising."""


class AdaptiveConfig(Section):
    """A curve that is measured while training: 1 where the held-out error still falls, less where it has turned."""

    kind: Literal["adaptive"] = "adaptive"


Curve = PowerConfig | SNRConfig | ConstantConfig | StepConfig | RampConfig | MeasuredConfig
"""What is known before training begins."""
Fixed = Annotated[Curve, Field(discriminator="kind")]
"""The config of a function of u alone."""
Psi = Annotated[Curve | AdaptiveConfig, Field(discriminator="kind")]
"""The config of a reconsolidation coefficient."""

Xi = Annotated[PowerOfComplementConfig | ConstantConfig | MeasuredConfig, Field(discriminator="kind")]
"""The config of a retention coefficient that is not 1 - psi."""


@dataclass(frozen=True, slots=True)
class Row:
    """A family in the table: how it is configured, and how it is made from config, process and clock."""

    config: type[BaseModel]
    build: Callable[[Any, NoiseProcess, Clock], Family]


KINDS: dict[str, Row] = {
    "power": Row(PowerConfig, lambda config, process, clock: Power(config.tau)),
    "power-of-complement": Row(PowerOfComplementConfig, lambda config, process, clock: PowerOfComplement(config.tau)),
    "snr": Row(SNRConfig, lambda config, process, clock: SNR(process, clock)),
    "constant": Row(ConstantConfig, lambda config, process, clock: Constant(config.value)),
    "step": Row(StepConfig, lambda config, process, clock: Step(config.at)),
    "ramp": Row(RampConfig, lambda config, process, clock: Ramp(config.start, config.stop)),
    "measured": Row(MeasuredConfig, lambda config, process, clock: Measured(config.knots)),
}


def build(config: Curve | Xi, process: NoiseProcess, clock: Clock) -> Family:
    """The coefficient that a config describes, for a model of this process and clock.

    Raises:
        ConfigError: the kind is not in `KINDS`, or the values do not make a family.
    """
    if config.kind not in KINDS:
        raise ConfigError(f"coefficients of kind {config.kind!r} are not known{did_you_mean(config.kind, KINDS)}")
    return KINDS[config.kind].build(config, process, clock)
