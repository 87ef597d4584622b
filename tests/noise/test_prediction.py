"""Every parameterisation on every process: the 2x2 solve undoes the row, and diffusers agrees."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler
from torch import Tensor

from difftuning.errors import ModelError
from difftuning.noise.clock import default_clock
from difftuning.noise.prediction import KINDS, from_scheduler_config, prediction
from difftuning.noise.process import EDM, NoiseProcess, StraightFlow
from difftuning.noise.process import from_scheduler_config as process_from

PROCESSES: list[NoiseProcess] = [process_from({}), StraightFlow(), EDM()]
each_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)


def corrupted(process: NoiseProcess, count: int = 41) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x0, noise, t, x_t) in float64 over the central 98 % of the training law."""
    t = default_clock(process).t(torch.linspace(0.01, 0.99, count, dtype=torch.float64))
    x0, noise = torch.randn(2, count, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x0, noise, t, process.add_noise(x0, noise, t)


@each_process
@pytest.mark.parametrize("name", KINDS)
def test_solve_undoes_target(process: NoiseProcess, name: str) -> None:
    x0, noise, t, x_t = corrupted(process)
    y = KINDS[name].target(process, x0, noise, t)
    x0_hat, eps_hat = KINDS[name].solve(process, x_t, y, t)
    torch.testing.assert_close(x0_hat, x0, rtol=0, atol=1e-9)
    torch.testing.assert_close(eps_hat, noise, rtol=0, atol=1e-9)
    torch.testing.assert_close(KINDS[name].from_x0(process, x_t, x0, t), y, rtol=1e-9, atol=1e-9)


@each_process
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_an_answer_means_the_same_in_every_parameterisation(process: NoiseProcess, source: str, target: str) -> None:
    _, _, t, x_t = corrupted(process)
    y = torch.randn(x_t.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x0_hat, _ = KINDS[source].solve(process, x_t, y, t)
    there = KINDS[target].from_x0(process, x_t, x0_hat, t)
    again, _ = KINDS[target].solve(process, x_t, there, t)
    torch.testing.assert_close(again, x0_hat, rtol=1e-9, atol=1e-9)


def determinant(process: NoiseProcess, name: str) -> tuple[Tensor, Tensor, Tensor]:
    _, _, t, _ = corrupted(process)
    alpha, sigma = process.alpha(t), process.sigma(t)
    a, b = KINDS[name].row(alpha, sigma)
    return alpha * b - sigma * a, alpha, sigma


def test_determinants_have_their_closed_forms() -> None:
    vp, flow, edm = PROCESSES
    close = {"rtol": 1e-12, "atol": 1e-12}
    for process, name in ((vp, "v_prediction"), (flow, "flow_prediction")):
        value, alpha, _ = determinant(process, name)
        torch.testing.assert_close(value, torch.ones_like(alpha), **close)
    for process in PROCESSES:
        value, alpha, _ = determinant(process, "epsilon")
        torch.testing.assert_close(value, alpha, **close)
        value, _, sigma = determinant(process, "sample")
        torch.testing.assert_close(value, -sigma, **close)
    value, _, sigma = determinant(edm, "edm")
    torch.testing.assert_close(value, -(sigma**2 + 0.25).sqrt() / 0.5, **close)


def test_velocity_is_that_of_diffusers() -> None:
    scheduler = DDPMScheduler()
    process = process_from(scheduler.config)
    scheduler.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    t = torch.arange(1000)
    x0, noise = torch.randn(2, 1000, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = scheduler.get_velocity(x0.double(), noise.double(), t).float()
    torch.testing.assert_close(KINDS["v_prediction"].target(process, x0, noise, t.float()), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("answer", ["epsilon", "v_prediction"])
def test_edm_is_the_preconditioning_of_diffusers(answer: Any) -> None:
    scheduler = EDMEulerScheduler(sigma_data=0.7, prediction_type=answer)
    config = json.loads(scheduler.to_json_string())
    process = process_from(config)
    sigma = torch.tensor([0.002, 0.1, 0.5, 3.0, 80.0])
    x_t, y = torch.randn(2, 5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    x0_hat, _ = from_scheduler_config(config, process).solve(process, x_t, y, sigma)
    for i in range(5):
        expected = scheduler.precondition_outputs(x_t[i], y[i], sigma[i])
        torch.testing.assert_close(x0_hat[i], expected, rtol=1e-5, atol=1e-5)


def test_the_row_follows_from_the_scheduler() -> None:
    vp, flow, edm = PROCESSES
    assert from_scheduler_config({}, vp).name == "epsilon"
    assert from_scheduler_config({"prediction_type": "v_prediction"}, vp).name == "v_prediction"
    assert from_scheduler_config({}, flow).name == "flow_prediction"
    assert from_scheduler_config({}, edm).name == "edm"
    with pytest.raises(ModelError, match="'sample' is not known of EDM"):
        from_scheduler_config({"prediction_type": "sample"}, edm)


def test_an_unknown_row_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ModelError, match="did you mean 'v_prediction'"):
        prediction("v-prediction")
