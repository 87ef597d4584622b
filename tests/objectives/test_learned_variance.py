"""The variational term against torch's own divergence, diffusers' variance, and the definition of the first step."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from difftuning.noise.prediction import KINDS
from difftuning.noise.process import VariancePreserving
from difftuning.objectives.learned_variance import _discretised_nll, variational_bound
from difftuning.types import Batch, Condition, Draw

TABLE = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
PROCESS = VariancePreserving(TABLE)
EPSILON = KINDS["epsilon"]
STEPS = [1, 2, 10, 500, 999]


def scheduler() -> DDPMScheduler:
    made = DDPMScheduler(variance_type="learned_range", clip_sample=False)
    made.alphas_cumprod, made.one = TABLE, torch.tensor(1.0, dtype=torch.float64)
    return made


def case(steps: list[int]) -> tuple[Batch, Tensor, Tensor, Tensor]:
    """(batch, x_t, y, v) in float64; y is near the truth, v in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(steps), 2, 3, 3)
    x0 = torch.rand(shape, generator=generator, dtype=torch.float64) * 1.9 - 0.95
    noise, off = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    v = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    t = torch.tensor(steps, dtype=torch.float32)
    count = len(steps)
    draw = Draw(t, (t + 0.5) / 1000, torch.zeros(count, dtype=torch.bool), torch.ones(count))
    batch = Batch(x0, noise, Condition(torch.zeros(count, dtype=torch.int64)), draw)
    # The bound reads y in float32, as it comes from a network.
    return batch, PROCESS.add_noise(x0, noise, t), (noise + 0.1 * off).float(), v.float()


def test_it_is_the_divergence_between_diffusers_own_gaussians() -> None:
    batch, x_t, y, v = case(STEPS)
    bound = variational_bound(y, v, x_t, PROCESS, EPSILON, batch)
    ddpm = scheduler()
    for i, t in enumerate(STEPS):
        mean_p = mean_of_step(t, x_t[i], y[i].double())
        mean_q = mean_of_step(t, x_t[i], batch.noise[i])
        std_q = ddpm._get_variance(t, variance_type="fixed_small").sqrt()
        std_p = ddpm._get_variance(t, predicted_variance=v[i].double()).exp().sqrt()
        expected = kl_divergence(Normal(mean_q, std_q.expand_as(mean_q)), Normal(mean_p, std_p)).mean() / math.log(2)
        torch.testing.assert_close(bound[i].double(), expected, rtol=2e-4, atol=1e-7)


def mean_of_step(t: int, x_t: Tensor, eps: Tensor) -> Tensor:
    """Ho et al. 2020, Eq. 11: the mean of p(x_{t-1} | x_t) from eps, a form that the code under test does not use."""
    before = TABLE[t - 1]
    alpha = TABLE[t] / before
    return (x_t - (1 - alpha) / (1 - TABLE[t]).sqrt() * eps) / alpha.sqrt()


def test_diffusers_steps_by_the_same_mean() -> None:
    _, x_t, y, _ = case(STEPS)
    for i, t in enumerate(STEPS):
        eps = y[i : i + 1].double()
        ddpm = DDPMScheduler(variance_type="fixed_small", clip_sample=False)
        ddpm.alphas_cumprod, ddpm.one = TABLE, torch.tensor(1.0, dtype=torch.float64)
        seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
        sample = ddpm.step(eps, t, x_t[i : i + 1], generator=seeds[0]).prev_sample
        noise = torch.randn(eps.shape, generator=seeds[1], dtype=torch.float64)
        mean = sample - ddpm._get_variance(t).sqrt() * noise
        torch.testing.assert_close(mean[0], mean_of_step(t, x_t[i], eps[0]), rtol=1e-6, atol=1e-6)


def test_it_vanishes_for_the_true_posterior_and_is_positive_elsewhere() -> None:
    batch, x_t, y, v = case(STEPS)
    truth = variational_bound(batch.noise.float(), -torch.ones_like(v), x_t, PROCESS, EPSILON, batch)
    assert float(truth.abs().max()) < 1e-5
    assert bool((variational_bound(y, v, x_t, PROCESS, EPSILON, batch) > truth.abs()).all())


def test_the_gradient_moves_the_variance_alone() -> None:
    batch, x_t, y, v = case([0, *STEPS])
    y.requires_grad_(), v.requires_grad_()
    (gradient,) = torch.autograd.grad(variational_bound(y, v, x_t, PROCESS, EPSILON, batch).sum(), v)
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())
    assert not variational_bound(y, v.detach(), x_t, PROCESS, EPSILON, batch).requires_grad


def test_the_first_step_puts_a_mass_of_one_on_the_bins() -> None:
    bins = torch.linspace(-1, 1, 256, dtype=torch.float64)
    for mean, log_std in ((0.0, -3.0), (0.7, -1.0), (-0.99, 0.5), (0.3, -8.0)):
        at = torch.full_like(bins, mean)
        mass = torch.exp(-_discretised_nll(bins, at, torch.full_like(bins, log_std)))
        assert float(mass.sum()) == pytest.approx(1, abs=1e-6)


def test_the_first_step_is_the_likelihood_of_the_data() -> None:
    batch, x_t, y, v = case([0, 0, 0])
    bound = variational_bound(y, v, x_t, PROCESS, EPSILON, batch)
    low = float(scheduler()._get_variance(1, variance_type="fixed_small").log())
    high = float((1 - TABLE[0]).log())
    log_var = (v.double() + 1) / 2 * high + (1 - v.double()) / 2 * low
    mean = (x_t - (1 - TABLE[0]).sqrt() * y.double()) / TABLE[0].sqrt()  # x_{-1} is x0-hat itself
    law = Normal(mean, (log_var / 2).exp())
    mass = (law.cdf(batch.x0 + 1 / 255) - law.cdf(batch.x0 - 1 / 255)).clamp(min=1e-12)
    expected = -mass.log2().flatten(1).mean(1)
    torch.testing.assert_close(bound.double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_finite_in_training_precision(dtype: torch.dtype) -> None:
    batch, _, y, v = case([0, *STEPS])
    batch = Batch(batch.x0.float(), batch.noise.float(), batch.condition, batch.draw)
    x_t = PROCESS.add_noise(batch.x0, batch.noise, batch.draw.t)
    bound = variational_bound(y.to(dtype), v.to(dtype), x_t, PROCESS, EPSILON, batch)
    assert bool(bound.isfinite().all())
