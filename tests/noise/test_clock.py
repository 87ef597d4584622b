"""The clock is the distribution function of the training law, and its inverse."""

from __future__ import annotations

import pytest
import torch
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Tensor

from difftuning.errors import ConfigError
from difftuning.noise.clock import (
    Clock,
    LogitNormal,
    LogitNormalConfig,
    LogNormal,
    LogNormalConfig,
    Uniform,
    UniformConfig,
    UniformIndex,
    UniformIndexConfig,
    build_clock,
    default_clock,
)
from difftuning.noise.process import EDM, StraightFlow, from_scheduler_config

CONTINUOUS: list[Clock] = [Uniform(), LogNormal(), LogNormal(0.4, 1.0), LogitNormal(), LogitNormal(0.5, 0.8, 3.0)]
continuous = pytest.mark.parametrize("clock", CONTINUOUS, ids=lambda clock: f"{type(clock).__name__}{vars(clock)}")
N = 20_000


def ks_to_uniform(values: Tensor) -> float:
    """sqrt(n) times the Kolmogorov-Smirnov distance to the uniform law; above 1.95 with probability 0.001."""
    ordered = values.double().sort().values
    n = len(ordered)
    above = torch.arange(1, n + 1, dtype=torch.float64) / n - ordered
    return n**0.5 * float(torch.maximum(above, 1 / n - above).max())


@continuous
def test_u_undoes_t(clock: Clock) -> None:
    u = torch.linspace(0.001, 0.999, 501, dtype=torch.float64)
    torch.testing.assert_close(clock.u(clock.t(u)), u, rtol=0, atol=1e-9)
    t = clock.t(u)
    assert bool((t.diff() > 0).all())
    torch.testing.assert_close(clock.t(clock.u(t)), t, rtol=1e-8, atol=1e-9)


@continuous
def test_the_ends_stay_finite_and_within_the_range(clock: Clock) -> None:
    for dtype in (torch.float32, torch.float64):
        t = clock.t(torch.tensor([0.0, 1.0], dtype=dtype))
        u = clock.u(t)
        assert bool(t.isfinite().all())
        assert bool(((u >= 0) & (u <= 1)).all())


@pytest.mark.parametrize("steps", [1, 50, 1000])
def test_the_index_clock_has_every_index_alike(steps: int) -> None:
    clock = UniformIndex(steps)
    fine = (torch.arange(40 * steps, dtype=torch.float64) + 0.5) / (40 * steps)
    t = clock.t(fine)
    assert bool((t.long().bincount(minlength=steps) == 40).all())
    assert bool(((clock.u(t) - fine).abs() <= 0.5 / steps).all())
    every = torch.arange(steps, dtype=torch.float64)
    assert torch.equal(clock.t(clock.u(every)), every)
    assert float(clock.u(every).mean()) == pytest.approx(0.5)
    assert clock.t(torch.tensor([0.0, 1.0])).tolist() == [0, steps - 1]


def test_the_laws_are_those_that_models_are_trained_with() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(N, generator=generator, dtype=torch.float64)
    edm = torch.exp(-1.2 + 1.2 * normal)
    assert ks_to_uniform(LogNormal().u(edm)) < 1.95
    torch.manual_seed(0)
    sd3 = compute_density_for_timestep_sampling("logit_normal", N, logit_mean=0.5, logit_std=0.8).double()
    assert ks_to_uniform(LogitNormal(0.5, 0.8).u(sd3)) < 1.95
    shifted = 3 * sd3 / (1 + 2 * sd3)
    assert ks_to_uniform(LogitNormal(0.5, 0.8, 3.0).u(shifted)) < 1.95
    assert ks_to_uniform(LogitNormal(0.5, 0.8, 1.0).u(shifted)) > 10, "the test must tell laws apart"


@continuous
def test_t_of_a_uniform_rank_is_a_draw_from_the_law(clock: Clock) -> None:
    rank = torch.rand(N, generator=torch.Generator().manual_seed(1))
    assert ks_to_uniform(clock.u(clock.t(rank))) < 1.95


def test_a_law_by_its_config_and_the_processes_that_it_is_of() -> None:
    flow, edm = StraightFlow(), EDM()
    shifted = build_clock(LogitNormalConfig(mean=0.5, std=0.8, shift=3), flow)
    assert vars(shifted) == vars(LogitNormal(0.5, 0.8, 3.0))
    assert vars(build_clock(LogNormalConfig(P_mean=-0.4, P_std=1), edm)) == vars(LogNormal(-0.4, 1.0))
    assert isinstance(build_clock(UniformConfig(), flow), Uniform)
    table = from_scheduler_config({"num_train_timesteps": 50})
    assert vars(build_clock(UniformIndexConfig(), table)) == {"steps": 50}
    with pytest.raises(
        ConfigError, match=r"log-normal is a law of EDM, and the model's process is StraightFlow; use uniform, logit"
    ):
        build_clock(LogNormalConfig(), flow)


def test_default_clocks() -> None:
    ddpm = default_clock(from_scheduler_config({"num_train_timesteps": 50}))
    assert ddpm.u(torch.tensor([49.0])).item() == pytest.approx(0.99)
    assert isinstance(default_clock(StraightFlow()), Uniform)
    assert isinstance(default_clock(EDM()), LogNormal)


@pytest.mark.parametrize("shift", [1.05, 1.3, 1.6487])
def test_a_shifted_one_that_rounding_made_more_is_still_the_noisiest(shift: float) -> None:
    """As Flux's first sigma is at some sizes."""
    for t in (torch.tensor([1.0]), torch.tensor([1.0000001192092896])):
        assert LogitNormal(shift=shift).u(t).tolist() == [1.0]
