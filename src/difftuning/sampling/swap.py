"""Two denoisers, one above a noise level and one below: how the chain of forgetting is seen (paper, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from difftuning.noise.clock import Clock
from difftuning.types import Condition, Denoiser


class Swap:
    """`high` denoises where u > u_star, `low` where u <= u_star.

    So u_star = 0 is `high` alone and u_star = 1 is `low` alone, exactly, on every clock.

    Args:
        high: the denoiser of much noise, where the domain is decided.
        low: the denoiser of little noise.
        u_star: in [0, 1], the forgetting clock at which they change.
        clock: turns t into u.
    """

    def __init__(self, high: Denoiser, low: Denoiser, u_star: float, clock: Clock) -> None:
        self.high, self.low, self.u_star, self.clock = high, low, u_star, clock

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x_t (B, C, H, W), t (B,) -> x0-hat (B, C, H, W); each sample is denoised by one of the two."""
        above = self.clock.u(t) > self.u_star
        if bool(above.all()):
            return self.high(x_t, t, condition)
        if not bool(above.any()):
            return self.low(x_t, t, condition)
        x0_hat = torch.empty_like(x_t)
        x0_hat[above] = self.high(x_t[above], t[above], condition[above])
        x0_hat[~above] = self.low(x_t[~above], t[~above], condition[~above])
        return x0_hat
