"""The variational term that trains a learned variance (DiT's second half of the output channels).

The mean is detached, so the term moves the variance alone; added to the simple error without a factor, as DiT and the authors
of Diff-Tuning train it. Source: Nichol & Dhariwal 2021 (arXiv 2102.09672), Eq. 14-16.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from difftuning.noise.prediction import Prediction
from difftuning.noise.process import VariancePreserving, expand
from difftuning.types import Batch


def _posterior(process: VariancePreserving, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of q(x_{t-1} | x_t, x0): the factors of x0 and x_t in its mean, its log-variance, and log beta_t; all (B,)."""
    cumprod = process.cumprod(t.device)
    previous = torch.cat([cumprod.new_ones(1), cumprod[:-1]])
    index = t.long()
    here, before = cumprod[index], previous[index]
    beta = 1 - here / before
    variance = beta * (1 - before) / (1 - here)
    # At t = 0 the posterior has no width; its log is clipped to that of t = 1 (section 3.1 of the source).
    second = 1 - cumprod[1] / cumprod[0]
    clipped = torch.where(index == 0, second * (1 - cumprod[0]) / (1 - cumprod[1]), variance)
    return (
        before.sqrt() * beta / (1 - here),
        (here / before).sqrt() * (1 - before) / (1 - here),
        clipped.log(),
        beta.log(),
    )


def _gaussian_kl(mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> Tensor:
    return 0.5 * (
        log_var_p - log_var_q - 1 + (log_var_q - log_var_p).exp() + (mean_q - mean_p).square() * (-log_var_p).exp()
    )


def _discretised_nll(x0: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """-log of the mass that N(mean, std^2) puts on the bin of width 2/255 around x0 (Ho et al. 2020, Eq. 13)."""
    half, inverse = 1 / 255, (-log_std).exp()
    upper = torch.special.ndtr(inverse * (x0 - mean + half))
    lower = torch.special.ndtr(inverse * (x0 - mean - half))
    upper = torch.where(x0 > 0.999, torch.ones_like(upper), upper)
    lower = torch.where(x0 < -0.999, torch.zeros_like(lower), lower)
    return -(upper - lower).clamp(min=1e-12).log()


def variational_bound(
    y: Tensor, variance_channels: Tensor, x_t: Tensor, process: VariancePreserving, prediction: Prediction, batch: Batch
) -> Tensor:
    """The bound's term at each sample's t in bits per dimension, (B,): gradient only through the variance.

    Args:
        y: (B, C, H, W) the mean part of the network's answer.
        variance_channels: (B, C, H, W) v; the log-variance is v in [-1, 1] between the posterior's and beta_t's (Eq. 15).
        x_t: (B, C, H, W) the corrupted batch.
        process: its table gives the posterior.
        prediction: what y is.
        batch: the clean data and the draw.
    """
    x0_hat, _ = prediction.solve(process, x_t, y.detach().float(), batch.draw.t)
    from_x0, from_x_t, log_low, log_high = (expand(value, x_t) for value in _posterior(process, batch.draw.t))
    share = (variance_channels.float() + 1) / 2
    log_var = share * log_high + (1 - share) * log_low
    mean_q = from_x0 * batch.x0 + from_x_t * x_t
    mean_p = from_x0 * x0_hat + from_x_t * x_t
    kl = _gaussian_kl(mean_q, log_low, mean_p, log_var)
    nll = _discretised_nll(batch.x0, mean_p, 0.5 * log_var)
    term = torch.where(expand(batch.draw.t == 0, x_t).bool(), nll, kl)
    return term.flatten(1).mean(1) / math.log(2)
