"""The processes against their definitions, their own inverses, and diffusers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    SchedulerMixin,
)
from hypothesis import given
from hypothesis import strategies as st

from difftuning.errors import ModelError
from difftuning.noise.process import (
    EDM,
    NoiseProcess,
    StraightFlow,
    VariancePreserving,
    expand,
    from_scheduler_config,
)

SCHEDULES: list[dict[str, Any]] = [
    {"beta_schedule": "linear"},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "linear", "num_train_timesteps": 100},
    {"trained_betas": torch.linspace(1e-3, 0.05, 50).tolist(), "num_train_timesteps": 50},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True},
]
LINEAR = from_scheduler_config({})
PROCESSES: list[NoiseProcess] = [LINEAR, StraightFlow(), EDM()]
kinds = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)


def config_of(scheduler: SchedulerMixin) -> dict[str, Any]:
    """What `save_pretrained` would write: unlike `scheduler.config` it has the `_class_name`."""
    config: dict[str, Any] = json.loads(scheduler.to_json_string())
    return config


def inside(process: NoiseProcess, count: int = 401) -> torch.Tensor:
    """Times over the whole range but for its very ends, rising."""
    at = torch.linspace(0.002, 0.998, count, dtype=torch.float64)
    return process.t_min + (process.t_max - process.t_min) * at


@given(st.floats(0, 999))
def test_variance_is_preserved_at_and_between_the_entries_of_the_table(t: float) -> None:
    at = torch.tensor([t], dtype=torch.float64)
    assert float(LINEAR.alpha(at) ** 2 + LINEAR.sigma(at) ** 2) == pytest.approx(1, abs=1e-14)


@kinds
def test_log_snr_falls_is_the_log_of_the_ratio_and_has_its_inverse(process: NoiseProcess) -> None:
    t = inside(process)
    log_snr = process.log_snr(t)
    assert bool((log_snr.diff() < 0).all())
    assert bool((process.sigma(t).diff() > 0).all())
    torch.testing.assert_close(log_snr, 2 * (process.alpha(t) / process.sigma(t)).log(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(process.from_log_snr(log_snr), t, rtol=1e-10, atol=1e-10)


@kinds
def test_scheduler_time_has_its_inverse(process: NoiseProcess) -> None:
    t = inside(process)
    torch.testing.assert_close(process.from_scheduler_time(process.scheduler_time(t)), t, rtol=1e-12, atol=0)


@pytest.mark.parametrize("config", SCHEDULES, ids=str)
def test_add_noise_is_that_of_diffusers(config: dict[str, Any]) -> None:
    scheduler = DDPMScheduler(**config)
    process = from_scheduler_config(config_of(scheduler))
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(scheduler.config.num_train_timesteps)
    x0, noise = torch.randn(2, len(t), 1, 2, 3, generator=generator)
    # diffusers keeps its table in float32, whose rounding of 1 - alphas_cumprod shows in sigma near t = 0.
    torch.testing.assert_close(
        process.add_noise(x0, noise, t.float()), scheduler.add_noise(x0, noise, t), rtol=0, atol=2e-5
    )
    scheduler.alphas_cumprod = process.alphas_cumprod
    exact = scheduler.add_noise(x0.double(), noise.double(), t)
    torch.testing.assert_close(process.add_noise(x0, noise, t.float()), exact.float(), rtol=0, atol=1e-6)


def test_the_straight_flow_is_that_of_diffusers() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    process = from_scheduler_config(config_of(scheduler))
    assert isinstance(process, StraightFlow)
    x0, noise = torch.randn(2, 10, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    timesteps = scheduler.timesteps[::100]
    t = process.from_scheduler_time(timesteps)
    torch.testing.assert_close(
        process.add_noise(x0, noise, t), scheduler.scale_noise(x0, timesteps, noise), rtol=0, atol=1e-6
    )


def test_edm_is_that_of_diffusers() -> None:
    scheduler = EDMEulerScheduler()
    process = from_scheduler_config(config_of(scheduler))
    assert isinstance(process, EDM)
    scheduler.set_timesteps(10)
    sigmas = scheduler.sigmas[:-1]
    torch.testing.assert_close(process.scheduler_time(sigmas), scheduler.timesteps, rtol=1e-6, atol=1e-6)
    x0, noise = torch.randn(2, 10, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    t = process.from_scheduler_time(scheduler.timesteps)
    expected = scheduler.add_noise(x0, noise, scheduler.timesteps)
    torch.testing.assert_close(process.add_noise(x0, noise, t), expected, rtol=1e-5, atol=1e-6)


def test_zero_terminal_snr_ends_in_pure_noise() -> None:
    process = from_scheduler_config({"rescale_betas_zero_snr": True})
    last = torch.tensor([999.0])
    assert float(process.alpha(last)) == 0
    assert float(process.sigma(last)) == 1


@kinds
def test_each_sample_gets_its_own_level_when_batch_and_width_are_equal(process: NoiseProcess) -> None:
    t = inside(process, 4)
    x0, noise = torch.randn(2, 4, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_t = process.add_noise(x0, noise, t)
    for i in range(4):
        alone = process.alpha(t[i]) * x0[i] + process.sigma(t[i]) * noise[i]
        torch.testing.assert_close(x_t[i], alone, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 1, 1, 1)])
def test_expand_refuses_anything_but_one_value_a_sample(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one value a sample"):
        expand(torch.ones(shape), torch.ones(4, 3, 2, 2))


@pytest.mark.parametrize("table", [[0.9, 0.95], [0.5, 0.5], [1.0, 0.5], [0.5], [0.5, -0.1]])
def test_a_table_that_does_not_fall_is_refused(table: list[float]) -> None:
    with pytest.raises(ModelError, match="alphas_cumprod"):
        VariancePreserving(torch.tensor(table))


def test_an_unknown_schedule_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ModelError, match="did you mean 'scaled_linear'"):
        from_scheduler_config({"beta_schedule": "scaled-linear"})


@pytest.mark.parametrize(
    "scheduler",
    [
        DDPMScheduler(),
        DDPMScheduler(beta_schedule="squaredcos_cap_v2", rescale_betas_zero_snr=True),
        DPMSolverMultistepScheduler(),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        FlowMatchHeunDiscreteScheduler(),
        EDMEulerScheduler(),
        EDMDPMSolverMultistepScheduler(sigma_max=40.0),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_a_live_config_says_the_same_as_a_saved_one(scheduler: Any) -> None:
    saved = config_of(scheduler)
    live = {key: value for key, value in scheduler.config.items() if key != "_class_name"}
    process, other = from_scheduler_config(live), from_scheduler_config(saved)
    assert type(process) is type(other)
    t = inside(process)
    assert torch.equal(process.alpha(t), other.alpha(t))
    assert torch.equal(process.sigma(t), other.sigma(t))
