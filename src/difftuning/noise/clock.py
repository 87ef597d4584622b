"""The forgetting clock `u` in [0, 1]: the rank of a noise level under the model's own training law of t.

`u` is the cumulative distribution of that law, so it is uniform over training whatever the family, and coefficients that are
functions of `u` mean the same for each: t/T for DDPM, t for uniform flow, Phi((ln sigma - P_mean)/P_std) for EDM (the paper's
appendix E), the logit-normal distribution function for SD3-like models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from difftuning.config.section import Section
from difftuning.errors import ConfigError
from difftuning.noise.process import EDM, NoiseProcess, StraightFlow, VariancePreserving


class Clock(ABC):
    """A training law of t, seen as its distribution function and the inverse. Any shape in, the same shape out."""

    @abstractmethod
    def u(self, t: Tensor) -> Tensor:
        """The rank of t in [0, 1], rising."""

    @abstractmethod
    def t(self, u: Tensor) -> Tensor:
        """The time of rank u; `clock.t(uniform)` is a draw from the training law."""


class UniformIndex(Clock):
    """DDPM's law: every index 0 ... T-1 alike. Index i has u = (i + 1/2) / T.

    The midpoint makes psi(u) and 1 - psi(u) complementary over the table; the authors' (i + 1)/T and (T - i)/T sum to (T + 1)/T.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def u(self, t: Tensor) -> Tensor:
        """(t + 1/2) / T."""
        return (t + 0.5) / self.steps

    def t(self, u: Tensor) -> Tensor:
        """floor(u T), an index in u's dtype."""
        return (u * self.steps).floor().clamp(0, self.steps - 1)


class Uniform(Clock):
    """Uniform time in [0, 1], as plain flow matching draws it."""

    def u(self, t: Tensor) -> Tensor:
        """The time t itself."""
        return t

    def t(self, u: Tensor) -> Tensor:
        """The rank u itself."""
        return u


class LogNormal(Clock):
    """EDM's law, ln sigma ~ N(P_mean, P_std^2) (Karras et al. 2022, Table 1)."""

    def __init__(self, P_mean: float = -1.2, P_std: float = 1.2) -> None:
        self.P_mean, self.P_std = P_mean, P_std

    def u(self, t: Tensor) -> Tensor:
        """Phi((ln sigma - P_mean) / P_std)."""
        rank: Tensor = torch.special.ndtr((t.log() - self.P_mean) / self.P_std)
        return rank

    def t(self, u: Tensor) -> Tensor:
        """exp(P_mean + P_std Phi^-1(u)); u is kept off 0 and 1, where sigma would be 0 or infinite."""
        inside = u.clamp(1e-6, 1 - 1e-6)
        return torch.exp(self.P_mean + self.P_std * torch.special.ndtri(inside))


class LogitNormal(Clock):
    """SD3's law, logit t ~ N(mean, std^2) and then shifted: t' = shift t / (1 + (shift - 1) t) (Esser et al. 2024)."""

    def __init__(self, mean: float = 0.0, std: float = 1.0, shift: float = 1.0) -> None:
        self.mean, self.std, self.shift = mean, std, shift

    def u(self, t: Tensor) -> Tensor:
        """Phi((logit(unshifted t) - mean) / std)."""
        # Kept in [0, 1]: in float32 a shifted 1 can come back as a little more.
        unshifted = (t / (self.shift - (self.shift - 1) * t)).clamp(0, 1)
        rank: Tensor = torch.special.ndtr((torch.logit(unshifted) - self.mean) / self.std)
        return rank

    def t(self, u: Tensor) -> Tensor:
        """The shifted logistic of mean + std Phi^-1(u)."""
        unshifted = torch.sigmoid(self.mean + self.std * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6)))
        return self.shift * unshifted / (1 + (self.shift - 1) * unshifted)


class UniformIndexConfig(Section):
    """Every index of the noise table alike, as DDPM draws them."""

    kind: Literal["uniform-index"] = "uniform-index"


class UniformConfig(Section):
    """Uniform time, as plain flow matching draws it."""

    kind: Literal["uniform"] = "uniform"


class LogNormalConfig(Section):
    """EDM's law, ln sigma ~ N(P_mean, P_std^2)."""

    kind: Literal["log-normal"] = "log-normal"
    P_mean: float = -1.2
    """The mean of ln sigma."""
    P_std: float = Field(1.2, gt=0)
    """Its standard deviation."""


class LogitNormalConfig(Section):
    """SD3's law, logit t ~ N(mean, std^2), shifted."""

    kind: Literal["logit-normal"] = "logit-normal"
    mean: float = 0.0
    """The mean of logit t."""
    std: float = Field(1.0, gt=0)
    """Its standard deviation."""
    shift: float = Field(1.0, gt=0)
    """Time becomes shift t / (1 + (shift - 1) t): 3 for SD3, 1 for none."""


ClockConfig = Annotated[
    UniformIndexConfig | UniformConfig | LogNormalConfig | LogitNormalConfig, Field(discriminator="kind")
]
KINDS: dict[str, tuple[type[NoiseProcess], Callable[[Any, Any], Clock]]] = {
    "uniform-index": (VariancePreserving, lambda config, process: UniformIndex(process.steps)),
    "uniform": (StraightFlow, lambda config, process: Uniform()),
    "log-normal": (EDM, lambda config, process: LogNormal(config.P_mean, config.P_std)),
    "logit-normal": (StraightFlow, lambda config, process: LogitNormal(config.mean, config.std, config.shift)),
}
"""Kind to the process that it is a law of, and what makes it."""


def build_clock(config: ClockConfig, process: NoiseProcess) -> Clock:
    """The clock of a config.

    Raises:
        ConfigError: it is not a law of this process.
    """
    of, make = KINDS[config.kind]
    if not isinstance(process, of):
        choices = ", ".join(kind for kind, (other, _) in KINDS.items() if isinstance(process, other))
        raise ConfigError(
            f"clock.kind={config.kind} is a law of {of.__name__}, and the model's process is {type(process).__name__}; "
            f"use {choices}, or null"
        )
    return make(config, process)


def default_clock(process: NoiseProcess) -> Clock:
    """The law that models of this process are usually trained with."""
    if isinstance(process, VariancePreserving):
        return UniformIndex(process.steps)
    if isinstance(process, EDM):
        return LogNormal()
    assert isinstance(process, StraightFlow)
    return Uniform()
