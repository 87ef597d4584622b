"""The noise process: how data are corrupted, `x_t = alpha(t) x0 + sigma(t) eps`.

t = 0 is data and noise grows with t, whatever the convention of the framework a model comes from. Three exist:

    VariancePreserving   alpha^2 + sigma^2 = 1 from a table of `alphas_cumprod` (DDPM, DiT, Stable Diffusion); t is its index
    StraightFlow         alpha = 1 - t, sigma = t (flow matching: SD3, Flux, SiT); t in [0, 1]
    EDM                  alpha = 1, sigma = t (Karras et al. 2022); t is the noise level itself
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from difftuning.errors import ModelError, did_you_mean
from difftuning.noise.on_device import OnDevice


def expand(values: Tensor, like: Tensor) -> Tensor:
    """One value a sample, shaped to multiply a batch: (B,) -> (B, 1, 1, ...), in the dtype of `like`.

    Explicit, because plain broadcasting of (B,) against (B, C, H, W) is silently wrong when W == B.

    Raises:
        ValueError: `values` is not one value a sample of `like`.
    """
    if values.shape != like.shape[:1]:
        raise ValueError(f"expected one value a sample, shape {tuple(like.shape[:1])}, got {tuple(values.shape)}")
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


class NoiseProcess(ABC):
    """A path from data to noise. All methods take t of any shape and return that shape, in float64 or t's own dtype."""

    t_min: float
    t_max: float

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data at time t, in [0, 1]."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise at time t, >= 0, rising."""

    @abstractmethod
    def from_log_snr(self, log_snr: Tensor) -> Tensor:
        """The time at which `log(alpha^2 / sigma^2)` has this value."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Lambda = log(alpha^2 / sigma^2), falling in t."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha(t) x0 + sigma(t) eps; x0 and noise (B, C, H, W), t (B,)."""
        return expand(self.alpha(t), x0) * x0 + expand(self.sigma(t), x0) * noise

    def network_input(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What the network is given as its input: x_t (B, C, H, W) at t (B,)."""
        return x_t

    def network_time(self, t: Tensor) -> Tensor:
        """What the network is given as its timestep at time t."""
        return t

    def scheduler_time(self, t: Tensor) -> Tensor:
        """The `timestep` that a diffusers scheduler of this process uses for time t."""
        return t

    def from_scheduler_time(self, timestep: Tensor) -> Tensor:
        """The time t that a diffusers scheduler of this process means by `timestep`."""
        return timestep


class VariancePreserving(NoiseProcess):
    """The discrete process of DDPM: alpha(t)^2 is a table over t = 0 ... T-1; between two entries log-SNR is linear in t.

    Args:
        alphas_cumprod: (T,) falling, in [0, 1); zero only in the last entry (zero terminal SNR).

    Raises:
        ModelError: the table does not fall.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        table = alphas_cumprod.detach().to("cpu", torch.float64)
        if (
            table.ndim != 1
            or len(table) < 2
            or not bool((table.diff() < 0).all())
            or not 0 <= table[-1] <= table[0] < 1
        ):
            raise ModelError(
                "the noise table alphas_cumprod must fall strictly within [0, 1); check the scheduler's betas"
            )
        self.alphas_cumprod = table
        self._cumprod = OnDevice(table)
        self.steps = len(table)
        self._log_snr = OnDevice(table.log() - torch.log1p(-table))
        self.t_min, self.t_max = 0.0, float(self.steps - 1)

    def cumprod(self, device: torch.device) -> Tensor:
        """alphas_cumprod on a device."""
        return self._cumprod.on(device)

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t), read from the table and interpolated between its entries."""
        table = self._log_snr.on(t.device)
        at = t.to(table.dtype).clamp(self.t_min, self.t_max)
        low = at.floor().long()
        fraction = at - low
        here = table[low]
        there = table[(low + 1).clamp(max=self.steps - 1)]
        return torch.where(fraction == 0, here, here + (there - here) * fraction)

    def alpha(self, t: Tensor) -> Tensor:
        """sqrt(alphas_cumprod)."""
        return torch.sigmoid(self.log_snr(t)).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - alphas_cumprod)."""
        return torch.sigmoid(-self.log_snr(t)).sqrt()

    def from_log_snr(self, log_snr: Tensor) -> Tensor:
        """The (fractional) index with this log-SNR, clamped to the table."""
        rising = -self._log_snr.on(log_snr.device)
        at = (-log_snr).to(rising.dtype).clamp(rising[0], rising[-1])
        high = torch.searchsorted(rising, at).clamp(1, self.steps - 1)
        low = high - 1
        return low + (at - rising[low]) / (rising[high] - rising[low])


class StraightFlow(NoiseProcess):
    """The straight path of flow matching, x_t = (1 - t) x0 + t eps, t in [0, 1].

    Args:
        train_timesteps: what the network and diffusers' schedulers multiply t by (1000 for SD3, Flux).
    """

    t_min, t_max = 0.0, 1.0

    def __init__(self, train_timesteps: int = 1000) -> None:
        self.train_timesteps = train_timesteps

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """The time t itself."""
        return t

    def from_log_snr(self, log_snr: Tensor) -> Tensor:
        """Sigma / alpha = exp(-lambda / 2), so t = 1 / (1 + exp(lambda / 2))."""
        return torch.sigmoid(-log_snr / 2)

    def network_time(self, t: Tensor) -> Tensor:
        """T times t."""
        return t * self.train_timesteps

    def scheduler_time(self, t: Tensor) -> Tensor:
        """T times t."""
        return t * self.train_timesteps

    def from_scheduler_time(self, timestep: Tensor) -> Tensor:
        """The timestep over T."""
        return timestep / self.train_timesteps


class EDM(NoiseProcess):
    """The process of Karras et al. 2022 (arXiv 2206.00364): x_t = x0 + sigma eps; t is sigma.

    Args:
        sigma_min: the lowest noise level sampled.
        sigma_max: the highest.
        sigma_data: the standard deviation of the data, which preconditioning assumes.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, sigma_data: float = 0.5) -> None:
        self.sigma_data = sigma_data
        self.t_min, self.t_max = sigma_min, sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        """One: the data are never scaled."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """The time t itself."""
        return t

    def from_log_snr(self, log_snr: Tensor) -> Tensor:
        """exp(-lambda / 2)."""
        return torch.exp(-log_snr / 2)

    def network_input(self, x_t: Tensor, t: Tensor) -> Tensor:
        """c_in x_t, of variance one: c_in = 1 / sqrt(sigma^2 + sigma_data^2) (Table 1 of the paper)."""
        return x_t * expand((t**2 + self.sigma_data**2).rsqrt(), x_t)

    def network_time(self, t: Tensor) -> Tensor:
        """c_noise = ln(sigma) / 4 (Table 1 of the paper)."""
        return t.log() / 4

    def scheduler_time(self, t: Tensor) -> Tensor:
        """Diffusers' EDM schedulers call c_noise their timestep."""
        return t.log() / 4

    def from_scheduler_time(self, timestep: Tensor) -> Tensor:
        """exp(4 c_noise)."""
        return torch.exp(4 * timestep)


def _cosine_betas(steps: int) -> Tensor:
    """The squared cosine of Nichol & Dhariwal 2021, betas capped at 0.999."""
    at = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


_BETAS: dict[str, Callable[[int, float, float], Tensor]] = {
    "linear": lambda steps, start, end: torch.linspace(start, end, steps, dtype=torch.float64),
    "scaled_linear": lambda steps, start, end: torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2,
    "squaredcos_cap_v2": lambda steps, start, end: _cosine_betas(steps),
}


def _zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale sqrt(alphas_cumprod) so that its last entry is zero (Lin et al. 2023, Algorithm 1)."""
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


MOST_STEPS = 1_000_000
"""Entries of a noise table: a file that claims more is damaged."""


def from_scheduler_config(config: Mapping[str, Any]) -> NoiseProcess:
    """The process that a diffusers scheduler config describes.

    Args:
        config: the content of `scheduler_config.json`, or a live scheduler's `config`, which has no `_class_name` and is told by
            the keys that only its family has.

    Raises:
        ModelError: the class or the beta schedule is not known, or a value is none that it can have.
    """
    try:
        return _from_config(config)
    except (TypeError, ValueError, OverflowError, RuntimeError) as reason:
        raise ModelError(
            f"the scheduler config describes no noise process ({' '.join(str(reason).split())})"
        ) from reason


def _from_config(config: Mapping[str, Any]) -> NoiseProcess:
    name = str(config.get("_class_name", ""))
    steps = int(config.get("num_train_timesteps", 1000))
    if not 0 < steps <= MOST_STEPS:
        raise ValueError(f"num_train_timesteps={steps} is not in 1 to {MOST_STEPS:,}")
    has_betas = "beta_schedule" in config or "trained_betas" in config
    if "FlowMatch" in name or config.get("use_flow_sigmas") or (not has_betas and "shift" in config):
        return StraightFlow(steps)
    if name.startswith("EDM") or (not has_betas and "sigma_data" in config):
        keys = ("sigma_min", "sigma_max", "sigma_data")
        levels = {key: float(config[key]) for key in keys if key in config}
        if not all(0 < level < math.inf for level in levels.values()):
            raise ValueError(f"noise levels must be positive and finite, not {levels}")
        return EDM(**levels)
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    else:
        schedule = str(config.get("beta_schedule", "linear"))
        if schedule not in _BETAS:
            raise ModelError(f"beta schedule {schedule!r} is not known{did_you_mean(schedule, _BETAS)}")
        betas = _BETAS[schedule](steps, float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02)))
    if betas.dim() != 1 or not 0 < len(betas) <= MOST_STEPS or not bool(((betas >= 0) & (betas <= 1)).all()):
        raise ValueError("betas must be a list of numbers in [0, 1]")
    alphas_cumprod = (1 - betas).cumprod(0)
    if config.get("rescale_betas_zero_snr"):
        alphas_cumprod = _zero_terminal_snr(alphas_cumprod)
    return VariancePreserving(alphas_cumprod)
