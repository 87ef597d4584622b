"""A measured psi: 1 where everything is to be gained, 0 where nothing is, never falling."""

from __future__ import annotations

import pytest
import torch

from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Measured
from difftuning.diagnosis.advise import measured_psi
from difftuning.errors import DataError


def test_psi_is_the_gain_over_the_full_gain_at_the_middles_of_the_bins() -> None:
    knots = measured_psi([1.0, 1.0, 1.0, 1.0], [[1.2, 1.0, 0.95, 0.6], [1.1, 0.99, 0.97, 0.5]], full_gain=0.1)
    assert [u for u, _ in knots] == [0.125, 0.375, 0.625, 0.875]
    assert [psi for _, psi in knots] == pytest.approx([0.0, 0.1, 0.5, 1.0])


def test_where_all_is_to_be_gained_it_is_standard_fine_tuning() -> None:
    knots = measured_psi([1.0, 2.0], [[0.5, 1.0]])
    assert not ChainOfForgetting.from_psi(Measured(knots)).uses_bank


def test_what_falls_is_pooled_so_the_chain_takes_it() -> None:
    knots = measured_psi([1.0] * 4, [[0.96, 0.98, 0.94, 0.99]], full_gain=0.1)
    assert [psi for _, psi in knots] == pytest.approx([0.3, 0.3, 0.35, 0.35])
    chain = ChainOfForgetting.from_psi(Measured(knots))
    assert bool((chain.psi(torch.linspace(0, 1, 50)).diff() >= -1e-9).all())


def test_the_lowest_error_of_each_bin_counts_whenever_it_was() -> None:
    early, late = [[0.97, 1.0], [1.0, 0.95]], [[0.97, 0.95]]
    assert measured_psi([1.0, 1.0], early) == measured_psi([1.0, 1.0], late)


def test_a_probe_that_learns_by_heart_leaves_a_part_to_retention_and_one_that_does_not_leaves_none() -> None:
    down, up = [[0.8, 0.5], [0.7, 0.4]], [[0.7, 0.4], [0.75, 0.45]]
    assert [psi for _, psi in measured_psi([1.0, 1.0], down)] == [1, 1]
    assert [psi for _, psi in measured_psi([1.0, 1.0], up)] == pytest.approx([0.8, 0.8])
    slightly = [[0.7, 0.4], [0.7055, 0.4]]  # by a half percent of the mean, a quarter of what counts in full
    assert [psi for _, psi in measured_psi([1.0, 1.0], slightly)] == pytest.approx([0.95, 0.95])


def test_what_still_falls_is_not_known_yet_where_the_probe_goes_on() -> None:
    falling, turned = [[0.999, 0.99], [0.998, 0.98]], [[0.998, 0.98], [0.999, 0.98]]
    assert [psi for _, psi in measured_psi([1.0, 1.0], falling, goes_on=True)] == [1, 1]
    ended = [psi for _, psi in measured_psi([1.0, 1.0], falling)]
    assert ended == pytest.approx([0.002 / 0.03, 0.02 / 0.03])
    first, second = (psi for _, psi in measured_psi([1.0, 1.0], turned, full_gain=0.03, goes_on=True))
    rise = (0.999 + 0.98) / (0.998 + 0.98) - 1
    assert first == pytest.approx(0.002 / 0.03)
    assert second == pytest.approx(1 - 0.2 * rise / 0.02)


def test_a_probe_that_was_not_measured_is_refused() -> None:
    with pytest.raises(DataError, match="heldout_every"):
        measured_psi([1.0], [])
