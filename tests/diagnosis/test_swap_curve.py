"""The curve over shares of replaced steps: its ends, its branches and its cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from difftuning.backbones.solvers import make_scheduler
from difftuning.diagnosis.swap_curve import SwapCurve, swap_curve
from difftuning.evaluation.features import to_uint8
from difftuning.noise.clock import default_clock
from difftuning.noise.process import from_scheduler_config
from difftuning.sampling.loop import sample
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.sampling.swap import Swap
from difftuning.types import Condition, Denoiser
from gaussian_mixture import GaussianMixture

CONFIG: dict[str, Any] = {"_class_name": "DDPMScheduler", "timestep_spacing": "trailing", "clip_sample": False}
PROCESS = from_scheduler_config(CONFIG)
SHAPE = (3, 2, 2)
FINETUNED, PRETRAINED = GaussianMixture.random(2, SHAPE, seed=0), GaussianMixture.random(2, SHAPE, seed=1)
CONDITION = FINETUNED.default_condition(6)


class Counted:
    """A denoiser that counts the samples it is asked for."""

    def __init__(self, mixture: GaussianMixture) -> None:
        self.denoiser, self.samples = mixture.denoiser(PROCESS), 0

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        self.samples += len(x_t)
        return self.denoiser(x_t, t, condition)


def run(solver: str, shares: tuple[float, ...], batch_size: int = 4, **denoisers: Denoiser) -> SwapCurve:
    return swap_curve(
        denoisers.get("finetuned", FINETUNED.denoiser(PROCESS)),
        denoisers.get("pretrained", PRETRAINED.denoiser(PROCESS)),
        PROCESS,
        make_scheduler(solver, CONFIG),
        CONDITION,
        SHAPE,
        10,
        lambda images: {"mean": float(images.double().mean()), "n": len(images)},
        lambda latents: to_uint8(latents / 3),
        shares,
        batch_size=batch_size,
        strip_rows=6,
    )


def drawn(solver: str, denoiser: Denoiser) -> Tensor:
    noise, scheduler = sample_noise(0, range(6), SHAPE), make_scheduler(solver, CONFIG)
    latents = sample(denoiser, PROCESS, scheduler, CONDITION, noise, 10, generators(0, range(6)))
    return ((latents / 3 + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpm++", "unipc", "euler", "heun"])
def test_the_ends_are_the_two_models(solver: str) -> None:
    curve = run(solver, (0.0, 1.0), batch_size=6)
    assert torch.equal(curve.strip[:, 0], drawn(solver, FINETUNED.denoiser(PROCESS)))
    assert torch.equal(curve.strip[:, 1], drawn(solver, PRETRAINED.denoiser(PROCESS)))


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "euler", "dpm++"])
def test_a_share_between_is_the_swap_of_denoisers_at_that_time(solver: str) -> None:
    # Ten trailing steps stand at u = 1.0, .9, ... .1; the last three are those below .35.
    curve = run(solver, (0.3,), batch_size=6)
    swap = Swap(FINETUNED.denoiser(PROCESS), PRETRAINED.denoiser(PROCESS), 0.35, default_clock(PROCESS))
    assert torch.equal(curve.strip[:, 0], drawn(solver, swap))
    assert curve.points[0].replaced == 3


def test_heun_swaps_between_whole_steps() -> None:
    counted = Counted(PRETRAINED)
    run("heun", (0.3,), finetuned=FINETUNED.denoiser(PROCESS), pretrained=counted)
    assert counted.samples == 6 * 5  # two evaluations a step, one in the last


def test_shared_prefixes_are_computed_once() -> None:
    finetuned, pretrained = Counted(FINETUNED), Counted(PRETRAINED)
    shares = (0.0, 0.1, 0.5, 0.51, 1.0)
    curve = run("ddim", shares, finetuned=finetuned, pretrained=pretrained)
    assert finetuned.samples == 6 * 10
    assert pretrained.samples == 6 * (0 + 1 + 5 + 10)  # .5 and .51 are the same five steps
    assert [point.share for point in curve.points] == list(shares)
    assert curve.points[2].metrics == curve.points[3].metrics
    assert curve.strip.shape == (6, 5, 3, 2, 2)


def test_it_measures_all_images_and_does_not_depend_on_the_batch() -> None:
    one, other = run("ddpm", (0.2, 0.6), batch_size=6), run("ddpm", (0.2, 0.6), batch_size=4)
    assert all(point.metrics["n"] == 6 for point in one.points)
    assert (one.strip.int() - other.strip.int()).abs().max() <= 1
