"""Heun's method on EDM's noise levels, which diffusers does not have: Karras et al. 2022 (arXiv 2206.00364), Algorithm 1.

It is a scheduler like those of diffusers, so the one loop takes it as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from difftuning.noise.prediction import from_scheduler_config
from difftuning.noise.process import EDM


class EDMHeunScheduler:
    """Asks the denoiser twice a step, and once in the last one.

    Args:
        config: `sigma_min`, `sigma_max` and `sigma_data`, and `rho`, which bends the grid of noise levels (Eq. 5); 7 by default.
    """

    order = 2

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)
        known = {key: float(config[key]) for key in ("sigma_min", "sigma_max", "sigma_data") if key in config}
        self._process = EDM(**known)
        self._prediction = from_scheduler_config(self.config, self._process)
        self._rho = float(config.get("rho", 7.0))
        self.init_noise_sigma = self._process.t_max
        self.set_timesteps(1)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EDMHeunScheduler:
        """From the config of a diffusers scheduler of EDM."""
        return cls(config)

    def set_timesteps(self, num_inference_steps: int, /) -> None:
        """Choose the noise levels of a trajectory (Eq. 5) and forget the last one.

        Each but the first and the last, which is 0, is visited twice: where a step guesses that it ends, and where the next begins.
        """
        ends = (self._process.t_max ** (1 / self._rho), self._process.t_min ** (1 / self._rho))
        levels = torch.linspace(*ends, num_inference_steps, dtype=torch.float64) ** self._rho
        visited = torch.cat([levels[:1], levels[1:].repeat_interleave(2)])
        self.sigmas = torch.cat([visited, visited.new_zeros(1)]).float()
        self.timesteps = self._process.scheduler_time(self.sigmas[:-1])
        self._visit = 0
        self._begun: tuple[Tensor, Tensor] | None = None

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        """The next x: a guess by Euler's method, or a guess corrected.

        Args:
            model_output: (B, C, H, W) F, what the network answered.
            timestep: not read: the place in the trajectory says it.
            sample: (B, C, H, W) x at this visit.
            return_dict: not read: there is only the tuple.
        """
        sigma = self.sigmas[self._visit].to(sample)
        x0_hat, _ = self._prediction.solve(self._process, sample, model_output, sigma.expand(len(sample)))
        slope = (sample - x0_hat) / sigma
        if self._begun is None:
            after = self.sigmas[self._visit + 1].to(sample)
            x = sample + (after - sigma) * slope
            self._begun = (sample, slope) if after > 0 else None
        else:
            start, first = self._begun
            x = start + (sigma - self.sigmas[self._visit - 1].to(sample)) * (first + slope) / 2
            self._begun = None
        self._visit += 1
        return (x,)
