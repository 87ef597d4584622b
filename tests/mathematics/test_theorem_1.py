"""Theorem 1 of the paper: the ideal denoiser of a finite set tends to the nearest sample and to the mean of the set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftuning.noise.process import NoiseProcess, StraightFlow, VariancePreserving
from gaussian_mixture import GaussianMixture

# A table that really goes from data to noise: alphas_cumprod from 1 - 1e-8 down to 1e-8, evenly in log-SNR.
DEEP = VariancePreserving(torch.sigmoid(torch.linspace(18.4, -18.4, 1000, dtype=torch.float64)))
N, SHAPE = 20, (1, 2, 2)
POINTS = torch.randn(N, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
FINITE = GaussianMixture(POINTS, torch.zeros(N).double(), torch.full((N,), 1 / N).double())
processes = pytest.mark.parametrize("process", [DEEP, StraightFlow()], ids=lambda process: type(process).__name__)


def ideal(process: NoiseProcess, x_t: Tensor, log_snr: float, points: GaussianMixture = FINITE) -> Tensor:
    t = process.from_log_snr(torch.full((len(x_t),), log_snr, dtype=torch.float64))
    return points.posterior_mean(process, x_t, t, points.default_condition(len(x_t)).labels)


def queries(count: int = 50) -> Tensor:
    return 1.5 * torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def squared_distances(x: Tensor) -> Tensor:
    return (x[:, None] - POINTS).flatten(2).square().sum(2)


@processes
@pytest.mark.parametrize("log_snr", [-8.0, 0.0, 3.0, 8.0])
def test_the_ideal_denoiser_is_the_softmax_average(process: NoiseProcess, log_snr: float) -> None:
    x = queries()
    t = process.from_log_snr(torch.tensor([log_snr], dtype=torch.float64))
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    distance = (x[:, None] - alpha * POINTS).flatten(2).square().sum(2)
    weights = torch.softmax(-distance / (2 * sigma**2), dim=1)
    expected = torch.einsum("bn,nchw->bchw", weights, POINTS)
    torch.testing.assert_close(ideal(process, x, log_snr), expected, rtol=0, atol=1e-9)


@processes
def test_towards_data_it_is_the_nearest_sample(process: NoiseProcess) -> None:
    x = queries()
    near = squared_distances(x).topk(2, largest=False)
    clear = near.values[:, 1] - near.values[:, 0] > 0.01
    assert int(clear.sum()) > 40
    nearest = POINTS[near.indices[:, 0]]
    far, close = ((ideal(process, x, log_snr) - nearest)[clear].abs().max() for log_snr in (0.0, 18.0))
    assert far > 0.1
    assert close < 1e-12


def test_the_rate_is_that_of_the_proof() -> None:
    """Every other weight is at most exp(-gap / (2 sigma^2)), the gap being between alpha-scaled squared distances."""
    x = queries()
    for log_snr in (4.0, 6.0, 8.0):
        t = DEEP.from_log_snr(torch.tensor([log_snr], dtype=torch.float64))
        alpha, sigma = float(DEEP.alpha(t)), float(DEEP.sigma(t))
        distance = (x[:, None] - alpha * POINTS).flatten(2).square().sum(2)
        near = distance.topk(2, largest=False)
        gap = near.values[:, 1] - near.values[:, 0]
        bound = (N - 1) * torch.exp(-gap / (2 * sigma**2)) * torch.cdist(POINTS.flatten(1), POINTS.flatten(1)).max()
        off = (ideal(DEEP, x, log_snr) - POINTS[near.indices[:, 0]]).flatten(1).norm(dim=1)
        assert bool((off <= bound + 1e-12).all())


def test_on_a_tie_it_is_the_mean_of_the_nearest() -> None:
    points = torch.tensor([1.0, -1.0, 5.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    finite = GaussianMixture(points, torch.zeros(3).double(), torch.full((3,), 1 / 3).double())
    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    assert float(ideal(DEEP, x, 18.0, finite)) == pytest.approx(0, abs=1e-12)


@processes
def test_towards_noise_it_is_the_mean_of_the_set(process: NoiseProcess) -> None:
    x = queries()
    off = [float((ideal(process, x, log_snr) - POINTS.mean(0)).abs().max()) for log_snr in (-4.0, -8.0, -12.0, -18.0)]
    assert off == sorted(off, reverse=True)
    assert off[-1] < 2e-3
    # The weights depend on x_t through alpha alone, so the distance to the mean falls in proportion to it.
    assert off[-1] / off[-2] == pytest.approx(torch.tensor(-3.0).exp().item(), rel=0.02)
