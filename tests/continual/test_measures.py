"""Forgetting and transfer from a matrix, in closed form."""

from __future__ import annotations

import pytest

from difftuning.continual.measures import Matrix

PHASES = ("a", "b", "c")
#            on a  on b  on c
R = (
    (8.0, 4.0, 10.0),  # pretrained
    (2.0, 3.0, 12.0),  # after a
    (3.0, 2.0, 5.0),  # after b
    (4.0, 1.0, 2.0),  # after c
)


def matrix() -> Matrix:
    return Matrix.of(PHASES, {(i, j): R[i][j - 1] for i in range(4) for j in range(1, 4)})


def test_forgetting_is_the_rise_since_the_phase_itself() -> None:
    nothing = [None, None, None]
    assert matrix().forgetting() == [nothing, nothing, [0.5, None, None], [1.0, -0.5, None]]
    assert matrix().mean_forgetting() == 0.25


def test_forward_transfer_is_the_change_before_a_phase_against_the_pretrained_model() -> None:
    nothing = [None, None, None]
    assert matrix().forward() == [nothing, [None, -0.25, pytest.approx(0.2)], [None, None, -0.5], nothing]
    assert matrix().mean_forward() == -0.375


def test_what_was_not_measured_stays_out_of_the_means() -> None:
    found = Matrix.of(PHASES, {(1, 1): 2.0, (3, 1): 3.0, (2, 2): 2.0})
    assert found.values == [[None] * 3, [2.0, None, None], [None, 2.0, None], [3.0, None, None]]
    assert found.mean_forgetting() == 0.5
    assert found.mean_forward() is None
    assert Matrix.of(("a",), {(0, 1): 2.0, (1, 1): 1.0}).mean_forgetting() is None
