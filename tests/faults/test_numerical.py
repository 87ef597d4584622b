"""Numbers that are not finite, or far too large: the run stops or bounds them by a stated rule, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import Source
from difftuning.data.folder import FolderSource
from difftuning.data.latents import encode
from difftuning.data.transforms import Transform
from difftuning.errors import Preempted, TrainingError
from difftuning.json_files import MetricsLog
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.training.checkpoints import Checkpoints
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.loss_meter import SKIPS, LossMeter
from difftuning.training.optim import OptimConfig
from difftuning.training.trainer import Trainer
from difftuning.types import Batch, Condition, Errors
from tiny import tiny_dit


class Streams:
    """Random latents, of which those of one step are multiplied."""

    def __init__(self, odd_step: int, factor: float) -> None:
        self.model, self.odd_step, self.factor = tiny_dit(), odd_step, factor
        self.chain = ChainOfForgetting.from_psi(Power(1.0))

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        generator = torch.Generator().manual_seed(step)
        draw = Source().draw(self.chain, self.model.clock, 4, generator)
        x0, noise = (torch.randn(4, 3, 8, 8, generator=generator) for _ in range(2))
        if step == self.odd_step:
            noise = noise * self.factor
        return Batch(x0, noise, Condition(torch.zeros(4, dtype=torch.int64)), draw)


def trainer(folder: Path, streams: Streams) -> Trainer:
    model = tiny_dit(seed=1)
    settings: dict[str, Any] = {"steps": 8, "batch_size": 4, "save_every": 2, "log_every": 1}
    return Trainer(
        network=model.network,
        parameters=dict(model.network.named_parameters()),
        objective=DiffTuning(model, model.process, model.prediction),
        streams=streams,
        checkpoints=Checkpoints(folder / "checkpoints"),
        log=MetricsLog(folder / "metrics.jsonl"),
        config=TrainingConfig(**settings),
        optim=OptimConfig(lr=1e-3),
        ema_config=EMAConfig(decay=0.9),
    )


def test_a_gradient_that_is_not_finite_stops_the_run_at_its_step(tmp_path: Path) -> None:
    made = trainer(tmp_path, Streams(-1, 1))
    first = next(iter(made.parameters.values()))
    first.register_hook(lambda gradient: gradient * (float("nan") if made.state.step == 4 else 1))
    with pytest.raises(TrainingError, match=r"gradient of step 5 is not finite, though its loss is; .* of step 4\."):
        made.run()
    assert made.checkpoints.last_step() == 4


def test_a_spike_reaches_the_weights_clipped_and_is_in_the_log(tmp_path: Path) -> None:
    made = trainer(tmp_path, Streams(5, 1e4))
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *asked: object) -> None:
        norms.append(float(torch.stack([value.grad.norm() for value in made.parameters.values()]).norm()))  # type: ignore[union-attr]

    # AdamW divides a gradient by its size, so what it moves does not tell whether that was clipped.
    made.optimizer.optimizer.register_step_pre_hook(note)  # type: ignore[attr-defined]
    made.run()
    logged = {record["step"]: record for record in MetricsLog(tmp_path / "metrics.jsonl").read().records}
    assert logged[6]["loss"] > 1e6
    assert logged[6]["grad_norm"] > 1000 * logged[5]["grad_norm"]
    before = [logged[step]["grad_norm"] for step in range(1, 9)]
    assert [logged[step]["clipped"] for step in range(1, 9)] == [float(norm > 1) for norm in before]
    assert min(before) < 1, "not all are clipped"
    assert norms == pytest.approx([min(norm, 1.0) for norm in before], rel=1e-5)
    assert max(norms) <= 1 + 1e-6


def test_a_spike_among_ordinary_steps_is_counted_and_ordinary_ones_are_not() -> None:
    errors = Errors(torch.ones(4), Streams(-1, 1).batch(0, (0, 0)).draw)
    meter = LossMeter(1.0)
    for step, norm in enumerate((1.0, 2.0, 21.0, 0.5, 19.0), start=1):
        meter.add(step, errors, torch.tensor(norm))
    assert meter.read(0)["spikes"] == 1, "the median is 2, and only 21 is more than ten times that"
    for step, norm in enumerate((1.0, 2.0, 9.0), start=6):
        meter.add(step, errors, torch.tensor(norm))
    assert "spikes" not in meter.read(0)


def test_steps_that_fp16_skips_are_counted_and_end_the_run_when_they_do_not_stop() -> None:
    batch = Streams(-1, 1).batch(0, (0, 0))
    errors = Errors(torch.ones(4), batch.draw)
    meter = LossMeter(1.0)
    for step in range(1, 4):
        meter.add(step, errors, torch.tensor(float("inf")), skipped=True)
    meter.add(4, errors, torch.tensor(0.5))
    told = meter.read(0)
    assert (told["skipped"], told["grad_norm"], told["clipped"]) == (3, 0.5, 0)
    assert "skipped" not in (meter.add(5, errors, torch.tensor(2.0)), meter.read(0))[1]
    for step in range(1, SKIPS):
        meter.add(step, errors, torch.tensor(float("inf")), skipped=True)
    with pytest.raises(TrainingError, match=f"{SKIPS} steps in a row, up to step {SKIPS}, overflow fp16"):
        meter.add(SKIPS, errors, torch.tensor(float("inf")), skipped=True)


class Overflowing:
    """A codec that overflows on bright images, as an autoencoder in fp16 may."""

    def encode(self, images: Tensor) -> Tensor:
        return torch.where(images.mean() > 0, float("inf"), 1.0) * images

    def digest(self) -> str:
        return "overflowing"


def test_latents_that_are_not_finite_are_set_aside_and_named(tmp_path: Path) -> None:
    for name, grey in (("dark", 10), ("bright", 240)):
        Image.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(tmp_path / f"{name}.png")
    found = encode(FolderSource(tmp_path, 1000), Transform(8), Overflowing())
    assert [one.origin for one in found.skipped] == ["bright.png"]
    assert found.skipped[0].reason == "its latents are not finite"
    assert len(found) == 1


def test_asked_to_stop_it_saves_that_step_and_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", Streams(-1, 1))
    whole.run()
    stopped = trainer(tmp_path / "parts", Streams(-1, 1))
    stopped.stop = lambda: stopped.state.step == 3
    with pytest.raises(Preempted, match="saved after step 3 of 8; run the same command again"):
        stopped.run()
    rest = trainer(tmp_path / "parts", Streams(-1, 1))
    rest.run()
    assert all(torch.equal(value, whole.parameters[name]) for name, value in rest.parameters.items())
    asked_at_the_end = trainer(tmp_path / "end", Streams(-1, 1))
    asked_at_the_end.stop = lambda: asked_at_the_end.state.step == 8
    assert asked_at_the_end.run().step == 8, "all is done, so there is nothing to stop"
