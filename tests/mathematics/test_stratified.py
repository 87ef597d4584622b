"""Stratified draws have the same mean and a lower variance; the ratios are printed (pytest -s)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import SourceConfig, TimestepConfig, WeightConfig, build_realisation
from difftuning.noise.clock import UniformIndex
from difftuning.noise.prediction import KINDS
from difftuning.noise.process import from_scheduler_config
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.types import Batch, Draw
from gaussian_mixture import GaussianMixture

PROCESS = from_scheduler_config({})
CLOCK = UniformIndex(1000)
BATCHES = 500
Config = type[SourceConfig] | type[TimestepConfig] | type[WeightConfig]


def draws(config: Config, stratified: bool, size: int) -> Draw:
    realisation, generator = build_realisation(config(stratified=stratified)), torch.Generator().manual_seed(0)
    chain = ChainOfForgetting.from_psi(Power(1.0))
    parts = [realisation.draw(chain, CLOCK, size, generator) for _ in range(BATCHES)]
    return Draw(*(torch.cat([getattr(part, name) for part in parts]) for name in ("t", "u", "from_bank", "weight")))


def spread(draw: Draw, error: Tensor) -> tuple[float, float]:
    """The variance of the batch losses, and their mean."""
    values = (draw.weight.double() * error.double()).reshape(BATCHES, -1).mean(1)
    return float(values.var()), float(values.mean())


def errors(draw: Draw) -> Tensor:
    """The error of each sample with its own data and noise: the target's ideal network on a target and another bank."""
    generator = torch.Generator().manual_seed(1)
    target, bank = GaussianMixture.random(seed=1), GaussianMixture.random(seed=2)
    clean = [mixture.sample(len(draw), generator)[0] for mixture in (target, bank)]
    x0 = torch.where(draw.from_bank[:, None, None, None], clean[1], clean[0])
    noise = torch.randn(x0.shape, generator=generator)
    network = target.network(PROCESS, KINDS["epsilon"])
    batch = Batch(x0, noise, target.default_condition(len(draw)), draw)
    return DiffTuning(network, PROCESS, KINDS["epsilon"])(batch).error


def expected_errors(draw: Draw) -> Tensor:
    """What `errors` is on average, given time and source: the part of the variance that a draw alone decides."""
    u = draw.u.double()
    return torch.exp(-4 * u) * (1 + 1.5 * draw.from_bank)


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("config", [SourceConfig, TimestepConfig, WeightConfig])
def test_the_variance_that_the_draw_decides_nearly_vanishes(config: Config, size: int) -> None:
    plain, even = (draws(config, stratified, size) for stratified in (False, True))
    (before, mean), (after, mean_even) = (spread(draw, expected_errors(draw)) for draw in (plain, even))
    print(f"{config.__name__} B={size}: variance from the draw alone, stratified / plain = {after / before:.3f}")
    assert after < 0.35 * before
    assert abs(mean - mean_even) < 4 * ((before + after) / BATCHES) ** 0.5


@pytest.mark.parametrize("config", [SourceConfig, TimestepConfig, WeightConfig])
def test_the_variance_of_the_loss_falls(config: Config) -> None:
    plain, even = (draws(config, stratified, 32) for stratified in (False, True))
    (before, mean), (after, mean_even) = (spread(draw, errors(draw)) for draw in (plain, even))
    print(f"{config.__name__} B=32: variance of the whole loss, stratified / plain = {after / before:.3f}")
    assert after < 0.85 * before
    assert abs(mean - mean_even) < 4 * ((before + after) / BATCHES) ** 0.5
