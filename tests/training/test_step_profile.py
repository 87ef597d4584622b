"""Timing a step from outside changes nothing of it, and the parts add up to the whole."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from difftuning.training.step_profile import AVERAGE, BACKWARD, FORWARD, HOOKS, PARTS, READ, SAVE, StepProfile
from training.test_trainer import make, same


def test_what_is_trained_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    plain, timed = make(tmp_path / "1"), make(tmp_path / "2")
    plain.run()
    began = time.perf_counter()
    profile = StepProfile(timed)
    timed.run()
    seconds, wall = profile.read(), time.perf_counter() - began
    assert same(plain.tensors(), timed.tensors())
    assert plain.log.read().records == timed.log.read().records  # type: ignore[attr-defined]
    assert tuple(seconds) == PARTS
    assert sum(seconds.values()) == pytest.approx(wall, rel=0.01)
    assert min(seconds[part] for part in (READ, FORWARD, BACKWARD, AVERAGE, HOOKS, SAVE)) > 0
    # The forward and backward passes of a network are most of a step, whatever the machine.
    assert seconds[FORWARD] + seconds[BACKWARD] > seconds[READ] + seconds[AVERAGE]
    shares = [share for _, _, share in profile.table()]
    assert sum(shares[:-1]) == pytest.approx(100)
    assert shares[-1] == pytest.approx(100)


def test_a_part_is_not_charged_for_what_it_asks_of_another(tmp_path: Path) -> None:
    profile = StepProfile(make(tmp_path))
    inner = profile.timed(lambda: time.sleep(0.05), AVERAGE)
    profile.timed(lambda: (time.sleep(0.01), inner()), READ)()
    seconds = profile.read()
    assert 0.05 <= seconds[AVERAGE] < 0.2
    assert 0.01 <= seconds[READ] < 0.05


def test_before_the_first_step_there_is_no_time_a_step(tmp_path: Path) -> None:
    assert {each for _, each, _ in StepProfile(make(tmp_path)).table()} == {None}
