"""Leaps and crossings of curves whose truth is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from difftuning.errors import DataError
from difftuning.evaluation.sudden_convergence import Leap, convergence, crossing, find_leap, obeys

STEPS = torch.arange(0, 5000, 250).double()


def sigmoid(at: float, width: float, low: float = 0.2, high: float = 0.8) -> Tensor:
    return low + (high - low) * torch.sigmoid((STEPS - at) / width)


def items(curve: Tensor, count: int = 64, noise: float = 0.05) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return curve[:, None] + noise * torch.randn(len(curve), count, generator=generator).double()


def resampled(steps: Tensor, curves: Tensor, leap: Leap) -> list[float]:
    """The crossings of 500 resamples in order, those that never cross last."""
    count = curves.shape[1]
    chosen = torch.randint(count, (500, count), generator=torch.Generator().manual_seed(0))
    found = [crossing(steps, curves[:, one].mean(1), leap) for one in chosen]
    return sorted(math.inf if step is None else step for step in found)


def test_a_leap_is_found_where_it_is_and_its_threshold_is_half_way() -> None:
    for low, high in ((0.2, 0.8), (0.8, 0.2)):
        leap = find_leap(sigmoid(2300, 60, low, high))
        assert leap.sudden
        assert (leap.before, leap.after) == pytest.approx((low, high), abs=0.02)
        assert leap.threshold == pytest.approx(0.5, abs=0.02)
        assert crossing(STEPS, sigmoid(2300, 60, low, high), leap) == pytest.approx(2300, abs=125)


def test_a_slope_and_noise_are_no_leap() -> None:
    assert not find_leap(0.2 + 0.6 * STEPS / STEPS[-1]).sudden
    generator = torch.Generator().manual_seed(1)
    assert not any(find_leap(0.5 + 0.05 * torch.randn(len(STEPS), generator=generator)).sudden for _ in range(50))
    assert not find_leap(torch.full((8,), 0.3)).sudden
    assert not find_leap(torch.linspace(0.2, 0.8, 5)).sudden


def test_a_touch_is_no_crossing_unless_it_stays() -> None:
    leap = Leap(0.2, 0.8, 0.5, True)
    curve = torch.tensor([0.2, 0.9, 0.2, 0.2, 0.6, 0.7])
    steps = torch.arange(6).double() * 100
    assert crossing(steps, curve, leap) == pytest.approx(375)
    assert crossing(steps, torch.tensor([0.2, 0.9, 0.2, 0.6, 0.7, 0.4]), leap) is None
    assert crossing(steps, torch.full((6,), 0.9), leap) == 0


def test_the_earlier_training_is_earlier_by_what_it_is_and_the_spread_holds_it() -> None:
    standard, ours = items(sigmoid(2500, 100)), items(sigmoid(1900, 100))
    leap = find_leap(standard.mean(1))
    late, early = convergence(STEPS, standard, leap), convergence(STEPS, ours, leap)
    assert late.step is not None
    assert early.step is not None
    assert early.step / late.step == pytest.approx(1900 / 2500, abs=0.05)
    for found, curves, truth in ((late, standard, 2500), (early, ours, 1900)):
        crossings = resampled(STEPS, curves, leap)
        assert found.low == pytest.approx(crossings[24])
        assert found.high == pytest.approx(crossings[474])
        assert crossings[24] - 60 < truth < crossings[474] + 60
    assert convergence(STEPS, items(sigmoid(9000, 100)), leap).step is None


def test_resamples_that_never_cross_are_the_latest() -> None:
    steps, leap = torch.arange(5).double(), Leap(0, 1, 0.5, True)
    # Without the one item that obeys late, or with too few of it, the mean stays below: as few as one resample in a hundred.
    curves = torch.stack(
        [torch.tensor([0.0, 0.0, 0.0, 0.45, 0.45])] * 14 + [torch.tensor([0.0, 0.0, 0.0, 0.0, 2.0])] * 6, 1
    )
    found = convergence(steps, curves, leap)
    crossings = resampled(steps, curves, leap)
    assert 0 < crossings.count(math.inf) <= 25
    assert found.low == pytest.approx(crossings[24])
    assert found.high == pytest.approx(crossings[474])


def test_a_training_obeys_where_its_items_change_by_more_than_they_scatter() -> None:
    noise = 0.1 * torch.randn(10, 400, generator=torch.Generator().manual_seed(0))
    # The standard error of the change is .1 sqrt(2 / 400) = .0071.
    rises = torch.linspace(0, 1, 10)[:, None]
    assert not obeys(noise, higher=True)
    assert obeys(noise + 0.05 * rises, higher=True)
    assert not obeys(noise - 0.05 * rises, higher=True), "it has come to obey less"
    assert obeys(noise - 0.05 * rises, higher=False), "of depth and normals less is better"


def test_too_few_measurements_are_refused() -> None:
    with pytest.raises(DataError, match="from 4 measurements"):
        find_leap(torch.zeros(4))
