"""The average of the weights in closed form, and how many images it is told of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from difftuning.training.ema import EMA, EMAConfig, decay_at
from difftuning.types import Batch
from training.test_trainer import Streams, make


def averages(config: EMAConfig, updates: int, batch_size: int = 8) -> list[float]:
    """The average of a weight that was 0 and is 1, after each update."""
    weight = nn.Parameter(torch.zeros(()))
    ema = EMA({"w": weight}, config)
    found = []
    with torch.no_grad():
        weight.fill_(1.0)
    for step in range(1, updates + 1):
        ema.update(step, batch_size)
        found.append(float(ema.average["w"]))
    return found


def test_a_constant_decay_forgets_a_tenth_a_step() -> None:
    assert averages(EMAConfig(decay=0.9), 20) == pytest.approx([1 - 0.9**k for k in range(1, 21)], rel=1e-5)


def test_without_decay_the_average_is_the_weight() -> None:
    assert averages(EMAConfig(decay=0), 1) == [1.0]


@pytest.mark.parametrize(("batch_size", "updates"), [(8, 10), (16, 5), (80, 1)])
def test_half_is_left_after_the_images_of_a_half_life(batch_size: int, updates: int) -> None:
    config = EMAConfig(kind="halflife", halflife_images=80, rampup=None)
    assert averages(config, updates, batch_size)[-1] == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("rampup", [0.05, 0.5])
def test_a_half_life_grows_with_the_images_seen_until_it_is_whole(rampup: float) -> None:
    config = EMAConfig(kind="halflife", halflife_images=80, rampup=rampup)
    # A half-life is `rampup` times the images of all steps, so after the first one it is `rampup` batches.
    assert decay_at(1, 8, config) == pytest.approx(0.5 ** (1 / rampup))
    assert decay_at(5, 8, config) == pytest.approx(0.5 ** (1 / (5 * rampup)))
    assert decay_at(1000, 8, config) == pytest.approx(0.5 ** (8 / 80))


class Part(Streams):
    """What the first of two processes makes of each batch."""

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        batch = super().batch(step, positions)
        return replace(batch[:4], whole=batch.draw)


def test_the_images_of_a_step_are_those_of_all_processes(tmp_path: Path) -> None:
    config = EMAConfig(kind="halflife", halflife_images=16, rampup=None)
    trainer = replace(make(tmp_path, Part()), ema_config=config)
    before = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    trainer.run(until=1)
    for name, value in trainer.parameters.items():
        # Of 16 images 8 are half a half-life.
        expected = torch.lerp(value.detach(), before[name], 0.5**0.5)
        torch.testing.assert_close(trainer.ema.average[name], expected, rtol=1e-5, atol=1e-6)
