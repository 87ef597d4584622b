"""What every family is trained by: its published loss and its published law of times, and nothing else at tau = 0."""

from __future__ import annotations

import pytest
import torch
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Tensor

from backbones.families import FAMILIES, condition
from difftuning.backbones.base import Backbone
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import KINDS as REALISATIONS
from difftuning.noise.process import EDM, StraightFlow
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.types import Batch, Condition

FAMILY = pytest.mark.parametrize("family", FAMILIES)


@FAMILY
@pytest.mark.parametrize("realisation", REALISATIONS)
def test_at_tau_0_the_loss_is_that_of_the_formula_that_the_family_is_trained_by(
    model: Backbone, realisation: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = 0.5 * torch.randn(8, *model.sample_shape, generator=generator)
    noise, labels = torch.randn(x0.shape, generator=generator), torch.arange(8) % 3 * (len(model.labels) > 0)
    config, make = REALISATIONS[realisation]
    draw = make(config()).draw(ChainOfForgetting.from_psi(Power(0)), model.clock, 8, generator)
    asked = condition(model, labels)
    with torch.no_grad():
        objective = DiffTuning(model, model.process, model.prediction, model.learned_variance)
        ours = objective(Batch(x0, noise, asked, draw))
        theirs = published_loss(model, x0, noise, draw.t, asked)
    torch.testing.assert_close(ours.error, theirs, atol=1e-6, rtol=1e-5)
    if not model.learned_variance:  # else the bound of the variance is added
        torch.testing.assert_close(ours.loss(), theirs.mean(), atol=1e-6, rtol=1e-5)


def published_loss(model: Backbone, x0: Tensor, noise: Tensor, t: Tensor, asked: Condition) -> Tensor:
    """(B,) as the training scripts of each family have it, with diffusers' own scheduler.

    Class-conditional networks are asked themselves; that text-to-image ones are asked as their pipelines do, tests/reference shows.
    """
    classes = {"class_labels": asked.labels} if len(model.labels) else {}
    wide, scheduler = t[:, None, None, None], model.scheduler
    if model.by_prompt:
        if isinstance(model.process, StraightFlow):
            answer = model((1 - wide) * x0 + wide * noise, t, asked)
            return (answer - (noise - x0)).square().flatten(1).mean(1)
        answer = model(scheduler.add_noise(x0, noise, t.long()), t, asked)[:, : x0.shape[1]]
        return (answer - noise).square().flatten(1).mean(1)
    if isinstance(model.process, EDM):
        # Karras et al. 2022, Eq. 7 and 8 and Table 1.
        sd = scheduler.config.sigma_data
        c_in, c_skip = 1 / (wide**2 + sd**2).sqrt(), sd**2 / (wide**2 + sd**2)
        c_out = wide * sd / (wide**2 + sd**2).sqrt()
        answer = model.network(c_in * (x0 + wide * noise), t.log() / 4, **classes).sample
        difference = c_skip * (x0 + wide * noise) + c_out * answer - x0
        return ((wide**2 + sd**2) / (wide * sd) ** 2 * difference.square()).flatten(1).mean(1)
    if isinstance(model.process, StraightFlow):
        answer = model.network((1 - wide) * x0 + wide * noise, 1000 * t, **classes).sample
        return (answer - (noise - x0)).square().flatten(1).mean(1)
    answer = model.network(scheduler.add_noise(x0, noise, t.long()), t, **classes).sample
    v = scheduler.config.prediction_type == "v_prediction"
    target = scheduler.get_velocity(x0, noise, t.long()) if v else noise
    return (answer - target).square().flatten(1).mean(1)


DRAWS = 20_000


def published_times(family: str, model: Backbone) -> Tensor:
    """(DRAWS,) times drawn as the training scripts of a family draw them, and not by our clock."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # diffusers' function takes no generator for the uniform it does not use
    if isinstance(model.process, EDM):  # Karras et al. 2022, Table 1
        return torch.exp(-1.2 + 1.2 * torch.randn(DRAWS, generator=generator))
    if family.startswith(("sd3", "flux")):  # train_dreambooth_lora_sd3.py and _flux.py
        t = compute_density_for_timestep_sampling("logit_normal", DRAWS, logit_mean=0.0, logit_std=1.0)
        shift = model.scheduler.config.shift if family.startswith("sd3") else 1.0
        return shift * t / (1 + (shift - 1) * t)
    if isinstance(model.process, StraightFlow):
        return torch.rand(DRAWS, generator=generator)
    steps = model.scheduler.config.num_train_timesteps
    return torch.randint(0, steps, (DRAWS,), generator=generator).float()


@FAMILY
def test_the_rank_is_uniform_under_the_law_that_the_family_is_trained_by(model: Backbone, family: str) -> None:
    ordered = model.clock.u(published_times(family, model).double()).sort().values
    even = (torch.arange(DRAWS, dtype=torch.float64) + 0.5) / DRAWS
    assert DRAWS**0.5 * float((ordered - even).abs().max()) < 1.95
