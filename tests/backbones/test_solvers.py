"""Solvers made from a model's scheduler config."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from difftuning.backbones.solvers import SOLVERS, make_scheduler
from difftuning.errors import ConfigError
from difftuning.noise.process import VariancePreserving, from_scheduler_config
from difftuning.sampling.loop import trajectory

CONFIGS: list[dict[str, Any]] = [
    {"_class_name": "DDPMScheduler"},
    {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 500},
    {
        "_class_name": "DDIMScheduler",
        "trained_betas": torch.linspace(1e-3, 0.05, 200).tolist(),
        "num_train_timesteps": 200,
    },
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_walks_on_the_process_of_the_config(name: str, config: dict[str, Any]) -> None:
    process = from_scheduler_config(config)
    assert isinstance(process, VariancePreserving)
    table = make_scheduler(name, config).alphas_cumprod
    torch.testing.assert_close(table.double(), process.alphas_cumprod, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", SOLVERS)
def test_it_keeps_the_prediction_type_of_a_saved_config(name: str, kind: str) -> None:
    saved = DDPMScheduler(prediction_type=kind, clip_sample=False)
    assert make_scheduler(name, dict(saved.config)).config.prediction_type == kind


@pytest.mark.parametrize("name", SOLVERS)
def test_a_config_in_memory_and_its_file_make_the_same_solver(name: str, tmp_path: Path) -> None:
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    scheduler.save_config(tmp_path)
    saved = json.loads((tmp_path / "scheduler_config.json").read_text())
    in_memory = {**scheduler.config, "_class_name": "DDPMScheduler"}
    first, second = make_scheduler(name, in_memory), make_scheduler(name, saved)
    for each in (first, second):
        each.set_timesteps(10)
    assert first.config.timestep_spacing == "leading"
    assert torch.equal(first.timesteps, second.timesteps)


def test_a_learned_variance_is_not_expected_of_the_loop() -> None:
    saved = dict(DDPMScheduler(variance_type="learned_range", clip_sample=False).config)
    assert make_scheduler("ddpm", saved).config.variance_type == "fixed_small"
    assert make_scheduler("dpm++", saved).config.variance_type is None


def test_even_steps_in_log_snr() -> None:
    config = {"_class_name": "DDPMScheduler"}
    scheduler = make_scheduler("dpm++lu", config)
    scheduler.set_timesteps(12)
    process = from_scheduler_config(config)
    log_snr = process.log_snr(scheduler.timesteps.float())
    apart = log_snr.diff()
    # Timesteps are whole numbers, so steps are even but for what rounding to an index does.
    assert float(apart.max() / apart.min()) < 1.25
    plain = make_scheduler("dpm++", config)
    plain.set_timesteps(12)
    uneven = process.log_snr(plain.timesteps.float()).diff()
    assert float(uneven.max() / uneven.min()) > 1.75


def test_steps_in_log_snr_need_a_finite_one() -> None:
    with pytest.raises(ConfigError, match=r"'dpm\+\+lu' cannot sample a model with rescale_betas_zero_snr"):
        make_scheduler("dpm++lu", {"_class_name": "DDPMScheduler", "rescale_betas_zero_snr": True})


def test_flux_gets_the_levels_of_its_pipeline() -> None:
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0, "even_sigmas": True}
    scheduler = make_scheduler("euler", config)
    scheduler.set_timesteps(4)
    torch.testing.assert_close(scheduler.sigmas, torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("steps", [1, 10, 16, 64, 350, 1000])
def test_ddim_steps_to_the_next_timestep_of_its_grid(spacing: str, steps: int) -> None:
    config = dict(DDIMScheduler(timestep_spacing=spacing).config)
    scheduler = make_scheduler("ddim", config)
    scheduler.set_timesteps(steps)
    alphas = [*scheduler.alphas_cumprod[scheduler.timesteps], scheduler.final_alpha_cumprod]
    x0, noise = torch.full((1, 1, 1, 1), 0.3), torch.full((1, 1, 1, 1), -0.7)
    for timestep, at, after in zip(scheduler.timesteps, alphas[:-1], alphas[1:], strict=True):
        x = scheduler.step(noise, timestep, at.sqrt() * x0 + (1 - at).sqrt() * noise, return_dict=False)[0]
        torch.testing.assert_close(x, after.sqrt() * x0 + (1 - after).sqrt() * noise, atol=1e-5, rtol=1e-4)


VP, SD = {"_class_name": "DDPMScheduler"}, {"_class_name": "PNDMScheduler", "steps_offset": 1}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}


@pytest.mark.parametrize(
    ("config", "solver", "steps", "told"),
    [
        (VP, "dpm++", 100, None),  # begins at t = 900, with a fiftieth of the signal
        (VP, "dpm++", 250, "begin at t = 750 of 1000"),
        (VP, "unipc", 500, "begin at t = 500 of 1000"),
        (VP, "dpm++", 1000, "begin at t = 0 of 1000"),
        (VP, "ddim", 500, None),
        (VP, "ddim", 600, "begin at t = 599 of 1000"),
        (VP, "ddim", 2, None),  # as few as that begin at the middle
        (SD, "ddim", 1000, "begin at t = 1000 of 1000"),
        (FLOW, "dpm++", 600, "the first two the same"),
        (FLOW, "unipc", 350, "the first two the same"),
        (FLOW, "dpm++", 50, None),
    ],
)
def test_steps_that_begin_far_from_all_noise_or_twice_are_refused(
    config: dict[str, object], solver: str, steps: int, told: str | None
) -> None:
    """diffusers draws from them without a word, or ends with an IndexError after the training."""
    leading = None if config is FLOW else "leading"
    process, scheduler = from_scheduler_config(config), make_scheduler(solver, config, leading)
    if told is None:
        trajectory(process, scheduler, steps)
    else:
        with pytest.raises(ConfigError, match=re.escape(told)):
            trajectory(process, scheduler, steps)


def test_steps_of_which_rounding_makes_more_are_refused() -> None:
    config = {"_class_name": "DDPMScheduler"}
    process = from_scheduler_config(config)
    for name in ("ddim", "ddpm", "dpm++", "unipc"):
        scheduler = make_scheduler(name, config, "trailing")
        with pytest.raises(ConfigError, match="cannot sample in 61 trailing steps, of which rounding makes 62"):
            trajectory(process, scheduler, 61)
        assert len(trajectory(process, scheduler, 62).timesteps) == 62


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++", "unipc", "euler", "heun"])
def test_trailing_steps_start_where_all_is_noise(name: str) -> None:
    config = {"_class_name": "DDPMScheduler", "timestep_spacing": "leading"}
    first = {}
    for spacing in ("leading", "trailing"):
        scheduler = make_scheduler(name, config, spacing)
        scheduler.set_timesteps(16)
        first[spacing] = int(scheduler.timesteps[0])
    assert first["trailing"] == 999
    assert first["leading"] <= 1000 - 1000 // 16
    assert make_scheduler(name, config).config.timestep_spacing == "leading"


def test_a_spacing_that_a_solver_cannot_have_is_refused() -> None:
    table = {"_class_name": "DDPMScheduler"}
    with pytest.raises(ConfigError, match="cannot take spacing=trailing; set it to null, or choose"):
        make_scheduler("dpm++lu", table, "trailing")
    cosine = {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2"}
    for config, spacing in (
        (cosine, "trailing"),
        (cosine, "linspace"),
        ({**cosine, "timestep_spacing": "trailing"}, None),
    ):
        with pytest.raises(ConfigError, match="'heun' cannot sample a model of the cosine table with spacing="):
            make_scheduler("heun", config, spacing)
    assert make_scheduler("heun", cosine).config.timestep_spacing == "leading"
    with pytest.raises(ConfigError, match="not for StraightFlow; set it to null"):
        make_scheduler("euler", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "trailing")


@pytest.mark.parametrize("name", ["dpm++", "unipc", "euler", "heun"])
def test_flow_models_keep_their_shift(name: str) -> None:
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    scheduler = make_scheduler(name, config)
    scheduler.set_timesteps(4)
    plain = make_scheduler(name, {**config, "shift": 1.0})
    plain.set_timesteps(4)

    def shifted(sigma: torch.Tensor) -> torch.Tensor:
        return 3 * sigma / (1 + 2 * sigma)

    levels = plain.sigmas
    apart = levels[:-1].unique().diff()
    torch.testing.assert_close(apart, apart.mean().expand(3), rtol=1e-3, atol=0.0)
    if name in ("euler", "heun"):
        # diffusers shifts the least level before it goes down to it in even steps, and then all of them.
        least = levels[-2]
        levels = torch.cat([1 + (levels[:-1] - 1) * (1 - shifted(least)) / (1 - least), levels[-1:]])
    torch.testing.assert_close(scheduler.sigmas, shifted(levels), rtol=1e-4, atol=1e-6)


def test_unknown_and_impossible_solvers_name_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"'dpm\+' is not known; did you mean 'dpm\+\+'"):
        make_scheduler("dpm+", CONFIGS[0])
    with pytest.raises(ConfigError, match=r"'ddim' cannot sample a StraightFlow model; choose from dpm\+\+"):
        make_scheduler("ddim", {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    with pytest.raises(ConfigError, match="rescale_betas_zero_snr; choose 'euler'"):
        make_scheduler("heun", {**CONFIGS[0], "rescale_betas_zero_snr": True})
