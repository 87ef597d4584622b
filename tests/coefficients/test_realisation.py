"""What each realisation draws: laws of u and of the source, counts, weights, determinism, stratification."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Constant, Family, Power, PowerOfComplement, Ramp, Step
from difftuning.coefficients.realisation import (
    KINDS,
    Realisation,
    Source,
    SourceConfig,
    Timestep,
    TimestepConfig,
    Weight,
    WeightConfig,
    build_realisation,
)
from difftuning.errors import ConfigError
from difftuning.noise.clock import Clock, LogitNormal, LogNormal, Uniform, UniformIndex
from difftuning.types import Draw

CONFIGS = [
    SourceConfig(),
    SourceConfig(stratified=True),
    TimestepConfig(),
    TimestepConfig(stratified=True),
    TimestepConfig(unbiased=True),
    WeightConfig(),
    WeightConfig(stratified=True),
]
every = pytest.mark.parametrize("realisation", [build_realisation(c) for c in CONFIGS], ids=[repr(c) for c in CONFIGS])
either = pytest.mark.parametrize("stratified", [False, True])
CLOCKS: list[Clock] = [UniformIndex(1000), Uniform(), LogNormal(), LogitNormal(shift=3.0)]
N = 20_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def power(tau: float) -> ChainOfForgetting:
    return ChainOfForgetting.from_psi(Power(tau))


def ks(values: Tensor, cdf: Tensor) -> float:
    """sqrt(n) times the Kolmogorov-Smirnov distance of `values`, whose exact distribution function is `cdf` of each.

    Above 1.95 with probability 0.001.
    """
    ordered = cdf[values.argsort()].double()
    n = len(ordered)
    above = torch.arange(1, n + 1, dtype=torch.float64) / n - ordered
    return n**0.5 * float(torch.maximum(above, 1 / n - above).max())


def equal(one: Draw, other: Draw) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("t", "u", "from_bank", "weight"))


@every
@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: type(clock).__name__)
def test_a_draw_is_well_formed_and_a_function_of_the_generator(realisation: Realisation, clock: Clock) -> None:
    draw = realisation.draw(power(1.0), clock, 33, generator())
    assert (draw.t.dtype, draw.u.dtype, draw.from_bank.dtype, draw.weight.dtype) == (
        torch.float32,
        torch.float32,
        torch.bool,
        torch.float32,
    )
    assert {tuple(value.shape) for value in (draw.t, draw.u, draw.from_bank, draw.weight)} == {(33,)}
    assert bool(((draw.u >= 0) & (draw.u <= 1) & draw.t.isfinite() & (draw.weight >= 0)).all())
    torch.testing.assert_close(clock.u(draw.t), draw.u, rtol=0, atol=2e-5)
    assert equal(draw, realisation.draw(power(1.0), clock, 33, generator()))
    assert not equal(draw, realisation.draw(power(1.0), clock, 33, generator(1)))


@every
def test_tau_zero_is_all_target_with_weight_one(realisation: Realisation) -> None:
    draw = realisation.draw(power(0.0), UniformIndex(1000), 32, generator())
    assert not bool(draw.from_bank.any())
    assert torch.equal(draw.weight, torch.ones(32))


@either
def test_source_consumes_the_same_numbers_whatever_the_chain(stratified: bool) -> None:
    source = Source(SourceConfig(stratified=stratified))
    states, times = [], []
    for chain in (power(0.0), power(1.0), ChainOfForgetting(Constant(1.0), PowerOfComplement(1.0))):
        own = generator()
        times.append(source.draw(chain, UniformIndex(1000), 32, own).t)
        states.append(own.get_state())
    assert all(torch.equal(states[0], state) for state in states)
    assert all(torch.equal(times[0], t) for t in times), "the chain decides the source alone, never the time"


@either
@pytest.mark.parametrize("tau", [0.3, 0.5, 0.7, 1.0, 1.5])
def test_source_has_the_papers_shares_and_laws(tau: float, stratified: bool) -> None:
    draw = Source(SourceConfig(stratified=stratified)).draw(power(tau), Uniform(), N, generator())
    share = float((~draw.from_bank).double().mean())
    expected = 1 / (1 + tau)
    assert abs(share - expected) < 4 * (expected * (1 - expected) / N) ** 0.5
    target, bank = draw.u[~draw.from_bank].double(), draw.u[draw.from_bank].double()
    assert ks(target, target ** (tau + 1)) < 1.95, "p(t | target) is proportional to t^tau"
    assert ks(bank, (bank - bank ** (tau + 1) / (tau + 1)) * (tau + 1) / tau) < 1.95, "p(t | bank) to 1 - t^tau"
    assert torch.equal(draw.weight, torch.ones(N))


@pytest.mark.parametrize(
    ("psi", "xi", "target_share", "mean_weight"),
    [(Constant(1.0), PowerOfComplement(1.0), 0.6931, 1.5), (Power(1.0), Constant(0.0), 1.0, 0.5)],
)
def test_source_uses_importance_weights_for_other_chains(
    psi: Family, xi: Family, target_share: float, mean_weight: float
) -> None:
    chain = ChainOfForgetting(psi, xi)
    draw = Source().draw(chain, Uniform(), N, generator())
    torch.testing.assert_close(draw.weight, psi(draw.u) + xi(draw.u))
    assert float((~draw.from_bank).float().mean()) == pytest.approx(target_share, abs=0.013)  # int 1/(2-u) = ln 2
    assert float(draw.weight.mean()) == pytest.approx(mean_weight, abs=0.01)


def test_where_nothing_is_weighed_the_weight_is_zero() -> None:
    draw = Source().draw(ChainOfForgetting(Step(0.5), Constant(0.0)), Uniform(), 1000, generator())
    assert torch.equal(draw.weight, (draw.u >= 0.5).float())
    assert not bool(draw.from_bank.any())


@either
@pytest.mark.parametrize("tau", [0.5, 1.0, 1.5])
def test_timestep_draws_each_stream_by_its_own_density(tau: float, stratified: bool) -> None:
    chain = ChainOfForgetting(Power(tau), PowerOfComplement(tau))
    draw = Timestep(TimestepConfig(bank_share=0.5, stratified=stratified)).draw(chain, Uniform(), N, generator())
    target, bank = draw.u[~draw.from_bank].double(), draw.u[draw.from_bank].double()
    assert ks(target, target ** (tau + 1)) < 1.95
    assert ks(bank, 1 - (1 - bank) ** (tau + 1)) < 1.95


def test_timestep_draws_indices_by_the_codes_categorical() -> None:
    steps, tau = 10, 2.0
    chain = ChainOfForgetting(Power(tau), PowerOfComplement(tau))
    draw = Timestep().draw(chain, UniformIndex(steps), 50_000, generator())
    midpoints = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    for stream, density in ((~draw.from_bank, midpoints**tau), (draw.from_bank, (1 - midpoints) ** tau)):
        counts = draw.t[stream].long().bincount(minlength=steps).double()
        expected = counts.sum() * density / density.sum()
        assert float(((counts - expected) ** 2 / expected).sum()) < 27.9, "chi-squared, 9 degrees, p = 0.001"


def test_timestep_has_the_constants_of_the_code() -> None:
    draw = Timestep().draw(power(1.0), UniformIndex(1000), 32, generator())
    assert int(draw.from_bank.sum()) == 6
    torch.testing.assert_close(draw.weight[~draw.from_bank], torch.full((26,), 32 / 26))
    torch.testing.assert_close(draw.weight[draw.from_bank], torch.full((6,), 0.1 * 32 / 6))
    fair = Timestep(TimestepConfig(unbiased=True)).draw(power(1.0), UniformIndex(1000), 32, generator())
    assert float(fair.weight[~fair.from_bank].sum()) / 32 == pytest.approx(0.5), "E[psi]"
    assert float(fair.weight[fair.from_bank].sum()) / 32 == pytest.approx(0.5), "E[xi]"


@pytest.mark.parametrize(
    ("batch", "share", "bank"), [(32, 0.2, 6), (4, 0.2, 1), (2, 0.01, 1), (10, 0.0, 0), (3, 0.9, 2), (100, 0.29, 29)]
)
def test_timestep_splits_as_stated(batch: int, share: float, bank: int) -> None:
    draw = Timestep(TimestepConfig(bank_share=share)).draw(power(1.0), Uniform(), batch, generator())
    assert int(draw.from_bank.sum()) == bank


@pytest.mark.parametrize("batch", [2, 7, 32])
def test_weight_is_the_sum_of_two_means(batch: int) -> None:
    chain = power(0.7)
    draw = Weight().draw(chain, UniformIndex(1000), batch, generator())
    error = torch.rand(batch, generator=generator(1), dtype=torch.float64)
    target, bank = ~draw.from_bank, draw.from_bank
    assert int(bank.sum()) == batch // 2
    u = draw.u.double()
    printed = (chain.psi(u) * error)[target].mean() + (chain.xi(u) * error)[bank].mean()
    torch.testing.assert_close((draw.weight * error).mean(), printed, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["timestep", "weight"])
def test_a_batch_of_one_cannot_be_split(kind: str) -> None:
    config, make = KINDS[kind]
    with pytest.raises(ConfigError, match="batch of 1 cannot be split"):
        make(config()).draw(power(1.0), Uniform(), 1, generator())
    assert len(make(config()).draw(power(0.0), Uniform(), 1, generator())) == 1
    assert len(Source().draw(power(1.0), Uniform(), 1, generator())) == 1


@pytest.mark.parametrize("kind", ["timestep", "weight"])
def test_retention_alone_draws_from_the_bank_alone(kind: str) -> None:
    config, make = KINDS[kind]
    draw = make(config()).draw(ChainOfForgetting(Constant(0.0), Constant(1.0)), Uniform(), 8, generator())
    assert bool(draw.from_bank.all())


@pytest.mark.parametrize("batch", [1, 5, 32, 100])
def test_stratified_ranks_fill_every_stratum_and_are_shuffled(batch: int) -> None:
    draw = Source(SourceConfig(stratified=True)).draw(power(1.0), Uniform(), batch, generator())
    cells = (draw.u.double() * batch).floor().long()
    assert torch.equal(cells.sort().values, torch.arange(batch))
    assert batch < 5 or not torch.equal(cells, torch.arange(batch))


def test_a_stratified_batch_holds_its_share_of_the_target() -> None:
    counts = {True: [], False: []}
    for stratified, seen in counts.items():
        source, own = Source(SourceConfig(stratified=stratified)), generator()
        seen.extend(int((~source.draw(power(1.0), Uniform(), 32, own).from_bank).sum()) for _ in range(400))
    plain, even = (torch.tensor(counts[key]).double() for key in (False, True))
    assert float(plain.var()) == pytest.approx(8, rel=0.3), "binomial: 32 / 4"
    assert float(even.var()) < 1.5
    assert abs(float(even.mean()) - 16) < 0.25


@pytest.mark.parametrize("psi", [Ramp(0.08, 0.2), Step(0.3)])
def test_a_stream_gets_no_time_where_its_coefficient_is_zero(psi: Family) -> None:
    draw = Timestep(TimestepConfig(bank_share=0.5)).draw(
        ChainOfForgetting.from_psi(psi), UniformIndex(1000), 4000, generator()
    )
    assert bool((psi(draw.u[~draw.from_bank]) > 0).all())
    assert bool((psi(draw.u[draw.from_bank]) < 1).all())
