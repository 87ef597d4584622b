"""Batches made ahead are those that would have been made when asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from difftuning.errors import BankError
from difftuning.training.prefetch import Prefetched, for_device
from difftuning.types import Batch
from training.test_trainer import Streams, make, same


def test_a_run_is_the_same_bit_for_bit_and_so_is_its_second_half(tmp_path: Path) -> None:
    plain, ahead = make(tmp_path / "1"), make(tmp_path / "2")
    ahead.streams = Prefetched(Streams())
    plain.run()
    ahead.run(until=7)
    rest = make(tmp_path / "2")
    rest.streams = Prefetched(Streams())
    rest.run()
    assert same(plain.tensors(), rest.tensors())
    assert plain.state.positions == rest.state.positions


def test_steps_out_of_order_are_made_when_asked_for() -> None:
    ahead = Prefetched(Streams())
    for step, positions in ((0, (0, 0)), (0, (0, 0)), (5, (20, 12)), (5, (21, 11)), (6, (0, 0))):
        made, truth = ahead.batch(step, positions), Streams().batch(step, positions)
        assert torch.equal(made.x0, truth.x0)
        assert torch.equal(made.draw.t, truth.draw.t)


class Breaking(Streams):
    """The bank goes after the second step; what was asked for is known."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.begun = threading.Event()

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        self.asked.append(step)
        if step == 2:
            self.begun.set()
            raise BankError("gone")
        return super().batch(step, positions)


def test_what_goes_wrong_ahead_is_raised_at_its_step() -> None:
    streams = Breaking()
    ahead = Prefetched(streams)
    used = 0
    for step in range(2):
        used += int(ahead.batch(step, (8 * step - used, used)).draw.from_bank.sum())
    assert streams.begun.wait(10)  # the third batch is being made, and nobody has asked for it
    with pytest.raises(BankError, match="gone"):
        ahead.batch(2, (16 - used, used))
    assert streams.asked == [0, 1, 2]


def test_a_cpu_makes_batches_itself() -> None:
    streams = Streams()
    assert for_device(streams, torch.device("cpu")) is streams
    assert isinstance(for_device(streams, torch.device("mps")), Prefetched)
