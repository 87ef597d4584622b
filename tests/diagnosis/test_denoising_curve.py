"""The error by noise level: what it draws, what it averages, what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from difftuning.diagnosis.denoising_curve import DenoisingCurve, denoising_curve
from difftuning.noise.clock import default_clock
from difftuning.noise.prediction import KINDS
from difftuning.noise.process import NoiseProcess, StraightFlow, from_scheduler_config
from difftuning.types import Condition, Network
from gaussian_mixture import GaussianMixture

GAUSSIAN = GaussianMixture(torch.zeros(1, 1, 4, 4).double(), torch.tensor([0.5]).double(), torch.ones(1).double())
VP = from_scheduler_config({"_class_name": "DDPMScheduler"})
LATENTS, LABELS = GAUSSIAN.sample(300, torch.Generator().manual_seed(0))


def curve(network: Network, process: NoiseProcess = VP, kind: str = "epsilon", **options: int) -> DenoisingCurve:
    return denoising_curve(network, process, KINDS[kind], default_clock(process), LATENTS, Condition(LABELS), **options)


def zero(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
    return torch.zeros_like(x_t)


def test_the_ideal_network_has_the_error_of_the_closed_form() -> None:
    # x0 ~ N(0, s^2), v = alpha^2 s^2 + sigma^2: Var(eps | x_t) = alpha^2 s^2 / v and Var(x0 | x_t) = s^2 sigma^2 / v.
    measured = curve(GAUSSIAN.network(VP, KINDS["epsilon"]), per_bin=1000)
    t = torch.arange(1000).double()
    signal, noise = VP.alpha(t).square() / 4, VP.sigma(t).square()
    expected = (signal / (signal + noise)).reshape(10, 100).mean(1)
    assert ((measured.error - expected).abs() < 4 * measured.standard_error + 0.005 * expected).all()
    expected_x0 = (noise / 4 / (signal + noise)).reshape(10, 100).mean(1)
    torch.testing.assert_close(measured.x0_error, expected_x0, rtol=0.05, atol=0)
    assert measured.mean == pytest.approx(float(measured.error.mean()))


def test_flow_is_measured_in_its_own_prediction() -> None:
    # A network that answers 0 errs by |eps - x0|^2, 1 + s^2 at every time.
    measured = curve(zero, StraightFlow(), "flow_prediction", bins=4)
    assert ((measured.error - 1.25).abs() < 4 * measured.standard_error).all()


def test_it_asks_the_same_of_every_model_in_every_batch_size() -> None:
    asked: list[list[Tensor]] = [[], []]

    def watched(kept: list[Tensor]) -> Network:
        def network(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
            kept.extend([x_t.flatten(1), t[:, None]])
            return torch.zeros_like(x_t)

        return network

    first = curve(watched(asked[0]), batch_size=64, per_bin=100)
    second = curve(watched(asked[1]), batch_size=33, per_bin=100)
    for part in (0, 1):
        assert torch.equal(torch.cat(asked[0][part::2]), torch.cat(asked[1][part::2]))
    assert torch.equal(first.errors, second.errors)
    assert not torch.equal(first.errors, curve(zero, per_bin=100, seed=1).errors)


def test_times_are_stratified_within_bins_and_items_used_evenly() -> None:
    times: list[Tensor] = []
    rows: list[Tensor] = []

    def network(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        times.append(t)
        rows.append(condition.labels)
        return torch.zeros_like(x_t)

    flow = StraightFlow()
    condition = Condition(torch.arange(300))
    denoising_curve(network, flow, KINDS["flow_prediction"], default_clock(flow), LATENTS, condition, 5, 600)
    u = torch.cat(times)
    assert torch.equal(torch.sort((u * 3000).floor()).values, torch.arange(3000.0))
    assert ((u * 5).floor() == torch.arange(5).repeat_interleave(600)).all()
    assert (torch.bincount(torch.cat(rows), minlength=300) == 10).all()


def test_paired_difference_is_sharper_than_the_curves() -> None:
    network = GAUSSIAN.network(VP, KINDS["epsilon"])
    better, worse = curve(network), curve(lambda *arguments: network(*arguments) * 0.98)
    difference, standard_error = worse.minus(better)
    torch.testing.assert_close(difference, worse.error - better.error)
    assert (standard_error < 0.3 * better.standard_error)[:6].all()
    assert torch.equal(better.minus(better)[0], torch.zeros(10, dtype=torch.float64))


def test_a_learned_variance_is_not_measured() -> None:
    doubled = curve(lambda x_t, t, condition: torch.cat([torch.zeros_like(x_t), x_t], 1))
    assert torch.equal(doubled.errors, curve(zero).errors)


class Dropped(nn.Module):
    """Dropout, and a frozen part that stays in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.frozen = nn.Dropout(0.5), nn.BatchNorm2d(1).eval()

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        answer: Tensor = self.dropout(self.frozen(x_t))
        return answer


def test_the_network_is_asked_in_evaluation_mode_and_left_as_found() -> None:
    module = Dropped()
    modes = [part.training for part in module.modules()]
    assert torch.equal(curve(module).errors, curve(module).errors)
    assert [part.training for part in module.modules()] == modes == [True, True, False]

    class Backbone:
        network = module

        def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
            return module.forward(x_t, t, condition)

    assert torch.equal(curve(Backbone()).errors, curve(module).errors)
    assert module.training
