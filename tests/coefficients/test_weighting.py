"""The loss weights are the published ones for eps, and the same weights of the same error for every other prediction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftuning.coefficients.weighting import KINDS, MinSNRConfig, P2Config, Weighting, loss_weight
from difftuning.noise.prediction import KINDS as PREDICTIONS
from difftuning.noise.process import NoiseProcess, StraightFlow, VariancePreserving, from_scheduler_config

DDPM = from_scheduler_config({"_class_name": "DDPMScheduler", "beta_schedule": "linear"})
T = torch.tensor([1.0, 100.0, 400.0, 900.0])
CONFIGS = (P2Config(), P2Config(k=0.5, gamma=0.5), MinSNRConfig(), MinSNRConfig(gamma=1.0))


def snr(process: NoiseProcess, t: Tensor) -> Tensor:
    return process.log_snr(t.double()).exp()


def test_the_published_forms_for_eps_and_v() -> None:
    at = snr(DDPM, T)
    eps, v = PREDICTIONS["epsilon"], PREDICTIONS["v_prediction"]
    close = {"rtol": 1e-5, "atol": 0.0, "check_dtype": False}
    torch.testing.assert_close(loss_weight(P2Config(), DDPM, eps, T), 1 / (1 + at), **close)
    torch.testing.assert_close(loss_weight(MinSNRConfig(), DDPM, eps, T), at.clamp(max=5) / at, **close)
    torch.testing.assert_close(loss_weight(MinSNRConfig(), DDPM, v, T), at.clamp(max=5) / (at + 1), **close)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("name", ["epsilon", "sample", "v_prediction"])
def test_one_error_weighs_the_same_whatever_the_network_predicts(config: Weighting, name: str) -> None:
    x0, noise, wrong = torch.randn(3, len(T), 3, 4, 4, dtype=torch.float64).unbind()
    x_t = DDPM.add_noise(x0, noise, T)

    def weighted(prediction_name: str) -> Tensor:
        prediction = PREDICTIONS[prediction_name]
        answer = prediction.from_x0(DDPM, x_t, x0 + 0.1 * wrong, T)
        error = (answer - prediction.target(DDPM, x0, noise, T)).square().flatten(1).mean(1)
        return loss_weight(config, DDPM, prediction, T) * error

    torch.testing.assert_close(weighted(name), weighted("epsilon"), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("process", [DDPM, StraightFlow()], ids=lambda process: type(process).__name__)
def test_weights_are_finite_and_not_negative_over_the_whole_range(config: Weighting, process: NoiseProcess) -> None:
    name = "epsilon" if isinstance(process, VariancePreserving) else "flow_prediction"
    t = torch.linspace(process.t_min, process.t_max, 101)[1:]
    found = loss_weight(config, process, PREDICTIONS[name], t)
    assert bool(found.isfinite().all())
    assert float(found.min()) >= 0


def test_every_kind_has_a_config_of_its_name() -> None:
    assert all(config().kind == name for name, (config, _) in KINDS.items())
