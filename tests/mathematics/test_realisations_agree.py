"""The realisations are estimators of one loss, Eq. 5: their means agree with its exact value and with each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import SNR, Constant, Power, PowerOfComplement, Ramp
from difftuning.coefficients.realisation import (
    Source,
    SourceConfig,
    TimestepConfig,
    WeightConfig,
    build_realisation,
)
from difftuning.noise.clock import UniformIndex
from difftuning.noise.prediction import KINDS
from difftuning.noise.process import VariancePreserving, from_scheduler_config
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.types import Batch, Condition, Draw, Network
from gaussian_mixture import GaussianMixture

PROCESS = from_scheduler_config({})
assert isinstance(PROCESS, VariancePreserving)
CLOCK = UniformIndex(1000)
EPSILON = KINDS["epsilon"]
BATCHES, SIZE = 800, 33  # an odd size, so that the halves of `weight` differ
Config = SourceConfig | TimestepConfig | WeightConfig
UNBIASED: list[Config] = [
    SourceConfig(),
    TimestepConfig(unbiased=True),
    WeightConfig(),
    SourceConfig(stratified=True),
    TimestepConfig(unbiased=True, stratified=True),
    WeightConfig(stratified=True),
]
CHAINS = {
    "tau=0.3": ChainOfForgetting.from_psi(Power(0.3)),
    "tau=1": ChainOfForgetting.from_psi(Power(1.0)),
    "tau=1.5": ChainOfForgetting.from_psi(Power(1.5)),
    "snr": ChainOfForgetting.from_psi(SNR(PROCESS, CLOCK)),
    "ramp": ChainOfForgetting.from_psi(Ramp(0.08, 0.2)),
    "reconsolidation only": ChainOfForgetting(Power(1.0), Constant(0.0)),
    "retention added": ChainOfForgetting(Constant(1.0), PowerOfComplement(1.0)),
    "code, tau=0.5": ChainOfForgetting(Power(0.5), PowerOfComplement(0.5)),
}


def one_gaussian(mean: float, std: float) -> GaussianMixture:
    return GaussianMixture(
        torch.full((1, 1, 2, 2), mean).double(), torch.tensor([std]).double(), torch.ones(1).double()
    )


def losses(
    config: Config, chain: ChainOfForgetting, streams: tuple[GaussianMixture, GaussianMixture], network: Network
) -> Tensor:
    """The losses of BATCHES batches, (BATCHES,) float64; one network call for all of them."""
    realisation, generator = build_realisation(config), torch.Generator().manual_seed(0)
    draws = [realisation.draw(chain, CLOCK, SIZE, generator) for _ in range(BATCHES)]
    draw = Draw(*(torch.cat([getattr(d, name) for d in draws]) for name in ("t", "u", "from_bank", "weight")))
    count = len(draw)
    target, bank = (stream.sample(count, generator)[0].double() for stream in streams)
    x0 = torch.where(draw.from_bank[:, None, None, None], bank, target)
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    batch = Batch(x0, noise, streams[0].default_condition(count), draw)
    error = DiffTuning(network, PROCESS, EPSILON)(batch).error.double()
    return (draw.weight * error).reshape(BATCHES, SIZE).mean(1)


def z(values: Tensor, expected: float) -> float:
    return (float(values.mean()) - expected) / float(values.std() / len(values) ** 0.5)


def exact_errors(target: tuple[float, float], bank: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """E||eps - eps-hat||^2 at each index, on target and on bank, of a Gaussian target's ideal network: (1000,) each.

    With v = alpha^2 s^2 + sigma^2 the ideal eps-hat is sigma (x_t - alpha m) / v, so what is left on N(m', s'^2) is
    (alpha^2 s^2 / v) eps - (sigma alpha / v) (x0 - m).
    """
    (mean, std), (bank_mean, bank_std) = target, bank
    t = torch.arange(1000, dtype=torch.float64)
    alpha, sigma = PROCESS.alpha(t), PROCESS.sigma(t)
    v = alpha**2 * std**2 + sigma**2
    left = (alpha**2 * std**2 / v) ** 2
    on_target = left + (sigma * alpha / v) ** 2 * std**2
    on_bank = left + (sigma * alpha / v) ** 2 * (bank_std**2 + (bank_mean - mean) ** 2)
    return on_target, on_bank


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("config", UNBIASED, ids=repr)
def test_every_realisation_has_the_exact_mean_of_eq_5(config: Config, name: str) -> None:
    chain, target, bank = CHAINS[name], (0.5, 0.4), (-0.3, 0.7)
    on_target, on_bank = exact_errors(target, bank)
    u = CLOCK.u(torch.arange(1000, dtype=torch.float64))
    eq_5 = float((chain.psi(u) * on_target + chain.xi(u) * on_bank).mean())
    streams = one_gaussian(*target), one_gaussian(*bank)
    values = losses(config, chain, streams, streams[0].network(PROCESS, EPSILON))
    assert abs(z(values, eq_5)) < 3.5
    assert float(values.std() / BATCHES**0.5) < 0.03 * eq_5, "the error bar must be tight enough to tell"


@pytest.mark.parametrize("stratified", [False, True])
def test_the_authors_constants_weigh_the_two_means_ten_to_one(stratified: bool) -> None:
    chain, target, bank = CHAINS["code, tau=0.5"], (0.5, 0.4), (-0.3, 0.7)
    on_target, on_bank = exact_errors(target, bank)
    u = CLOCK.u(torch.arange(1000, dtype=torch.float64))
    psi, xi = chain.psi(u), chain.xi(u)
    printed = float((psi * on_target).sum() / psi.sum() + 0.1 * (xi * on_bank).sum() / xi.sum())
    streams = one_gaussian(*target), one_gaussian(*bank)
    network = streams[0].network(PROCESS, EPSILON)
    values = losses(TimestepConfig(stratified=stratified), chain, streams, network)
    assert abs(z(values, printed)) < 3.5
    eq_5 = float((psi * on_target + xi * on_bank).mean())
    assert abs(z(values, eq_5)) > 10, "it is not Eq. 5, and the test can tell"


def perturbed(network: Network) -> Network:
    """Wrong by an amount that depends on the place and on the noise level, so it is off differently on each stream."""

    def answer(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        level = CLOCK.u(t)[:, None, None, None]
        return network(x_t, t, condition) + 0.4 * (1 - level) * torch.sin(3 * x_t) + 0.2 * level

    return answer


@pytest.mark.parametrize("wrong", [lambda network: network, perturbed], ids=["ideal", "perturbed"])
def test_the_realisations_agree_on_a_mixture(wrong: Callable[[Network], Network]) -> None:
    streams = GaussianMixture.random(seed=1), GaussianMixture.random(seed=2)
    network = wrong(streams[0].network(PROCESS, EPSILON))
    measured = [losses(config, CHAINS["tau=1"], streams, network) for config in UNBIASED]
    for i, one in enumerate(measured):
        for other in measured[:i]:
            bar = float((one.var() + other.var()) / BATCHES) ** 0.5
            assert abs(float(one.mean() - other.mean())) < 3.5 * bar
            assert bar < 0.03 * float(one.mean())


def test_the_ideal_network_is_better_on_the_target_than_any_perturbation() -> None:
    mixture = GaussianMixture.random(seed=1)
    network = mixture.network(PROCESS, EPSILON)
    chain = ChainOfForgetting.from_psi(Power(0.0))
    ideal, worse = (losses(SourceConfig(), chain, (mixture, mixture), n) for n in (network, perturbed(network)))
    assert float((worse - ideal).mean()) > 10 * float((worse - ideal).std()) / BATCHES**0.5


def test_splitting_a_draw_splits_the_loss() -> None:
    """Gradient accumulation: the mean of equal parts' losses is the loss of the whole, whatever the realisation."""
    draw = Source().draw(CHAINS["code, tau=0.5"], CLOCK, 32, torch.Generator().manual_seed(0))
    error = torch.rand(32, dtype=torch.float64)
    whole = (draw.weight * error).mean()
    parts = [(draw[s].weight * error[s]).mean() for s in (slice(0, 16), slice(16, 32))]
    torch.testing.assert_close(sum(parts) / 2, whole)
