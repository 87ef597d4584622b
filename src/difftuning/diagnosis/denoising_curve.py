"""The cheap curve of forgetting: a network's error by noise level, on held-out data.

What is asked of the network is a pure function of the seed: the same items, noise and times for every model and
checkpoint, so a difference between two curves is a difference between the networks.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from difftuning.backbones.evaluating import evaluating
from difftuning.noise.clock import Clock
from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess
from difftuning.processes import present
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.types import Condition, Network

BINS = 10
"""Of u, unless others are asked for."""


@dataclass(frozen=True, slots=True)
class DenoisingCurve:
    """Errors in equal bins of the forgetting clock; bin b of K covers u in [b/K, (b+1)/K).

    Attributes:
        errors: (bins, n) float64, each draw's mean squared error of what the network predicts: what training
            minimises. Draw j is the same item with the same noise in every bin.
        x0_errors: (bins, n) float64, each draw's mean squared error of the clean sample that the prediction means.
    """

    errors: Tensor
    x0_errors: Tensor

    @property
    def u(self) -> Tensor:
        """(bins,) the middle of each bin."""
        bins = len(self.errors)
        return (torch.arange(bins, dtype=torch.float64) + 0.5) / bins

    @property
    def error(self) -> Tensor:
        """(bins,) the mean error of each bin."""
        return self.errors.mean(1)

    @property
    def standard_error(self) -> Tensor:
        """(bins,) of `error`, over the draws."""
        return _standard_error(self.errors)

    @property
    def x0_error(self) -> Tensor:
        """(bins,) the mean error of x0-hat in each bin."""
        return self.x0_errors.mean(1)

    @property
    def mean(self) -> float:
        """The error over all bins: the training loss on these data."""
        return float(self.errors.mean())

    def minus(self, other: DenoisingCurve) -> tuple[Tensor, Tensor]:
        """By how much this error exceeds the other's in each bin, and the standard error of that, paired draw by draw.

        Both curves must come from the same data, bins and seed; (bins,) each.
        """
        difference = self.errors - other.errors
        return difference.mean(1), _standard_error(difference)


def _standard_error(values: Tensor) -> Tensor:
    return values.std(1) / math.sqrt(values.shape[1])


@torch.no_grad()
def denoising_curve(
    network: Network,
    process: NoiseProcess,
    prediction: Prediction,
    clock: Clock,
    latents: Tensor,
    condition: Condition,
    bins: int = BINS,
    per_bin: int = 256,
    seed: int = 0,
    batch_size: int = 128,
) -> DenoisingCurve:
    """Measure a network's error in equal bins of u. It is asked in evaluation mode and left in the mode found.

    Args:
        network: `(x_t, t, condition) -> y`; channels beyond those of x_t (a learned variance) are not measured.
        process: how the latents are corrupted.
        prediction: what y is.
        clock: turns u into t.
        latents: (N, C, H, W) clean and held out, on the network's device. Each is used as often as any other, give or
            take once, in an order drawn from the seed.
        condition: N conditions.
        bins: how many.
        per_bin: draws in each bin, >= 2, at stratified u.
        seed: of items, noise and times.
        batch_size: draws a forward pass.
    """
    items, u = _draws(len(latents), bins, per_bin, seed)
    noise = sample_noise(seed, range(per_bin), latents.shape[1:])
    errors = torch.empty(bins, per_bin, dtype=torch.float64)
    x0_errors = torch.empty_like(errors)
    pairs = [(b, slice(j, j + batch_size)) for b in range(bins) for j in range(0, per_bin, batch_size)]

    def measured(pair: tuple[int, slice]) -> tuple[Tensor, Tensor]:
        b, draws = pair
        at = items[draws].to(latents.device)
        x0, eps = latents[at], noise[draws].to(latents)
        t = clock.t(u[b, draws]).to(latents.device)  # where it is computed: not every device has all functions of it
        x_t = process.add_noise(x0, eps, t)
        y = network(x_t, t, condition[at])[:, : x0.shape[1]].float()
        x0_hat, _ = prediction.solve(process, x_t, y, t)
        return _per_sample(y, prediction.target(process, x0, eps, t)), _per_sample(x0_hat, x0)

    # The module that is the network, or lies under it (a backbone).
    module = getattr(network, "network", network)
    with evaluating(module) if isinstance(module, nn.Module) else nullcontext():
        found = present().each(pairs, measured)
    for (b, draws), (error, x0_error) in zip(pairs, found, strict=True):
        errors[b, draws], x0_errors[b, draws] = error, x0_error
    return DenoisingCurve(errors, x0_errors)


def _draws(count: int, bins: int, per_bin: int, seed: int) -> tuple[Tensor, Tensor]:
    """The items (per_bin,) int64 and u (bins, per_bin) float32, one in each of `bins * per_bin` equal strata."""
    generator = generators(seed, [0], stream="denoising-curve")[0]
    items = torch.randperm(count, generator=generator)[torch.arange(per_bin) % count]
    # Which item gets which stratum is drawn anew in each bin; else some items would always be those of the most noise.
    strata = torch.stack([torch.randperm(per_bin, generator=generator) for _ in range(bins)])
    within = (strata + torch.rand(bins, per_bin, generator=generator)) / per_bin
    return items, (torch.arange(bins)[:, None] + within) / bins


def _per_sample(answer: Tensor, truth: Tensor) -> Tensor:
    # In float64 where that is to be had: Apple's devices have none.
    return (answer.cpu().double() - truth.cpu().double()).square().flatten(1).mean(1)
