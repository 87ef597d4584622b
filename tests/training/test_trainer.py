"""The loop on a real tiny DiT: exact resume, exactly the intended parameters, stops that say why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import Source
from difftuning.errors import CheckpointError, TrainingError
from difftuning.json_files import MetricsLog
from difftuning.objectives.anchor import Anchor
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.objectives.finetune import finetune_loss
from difftuning.training.checkpoints import Checkpoints, read
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.hooks import Hook
from difftuning.training.identity import Identity
from difftuning.training.interfaces import Objective
from difftuning.training.optim import OptimConfig, learning_rate
from difftuning.training.trainer import Trainer
from difftuning.types import Batch, Condition, Errors
from tiny import tiny_dit


class Streams:
    """Real draws over random latents, a pure function of the step."""

    def __init__(self, tau: float = 1.0, poison: int | None = None, size: int = 8) -> None:
        self.model, self.poison, self.size = tiny_dit(), poison, size
        self.chain = ChainOfForgetting.from_psi(Power(tau))

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        generator = torch.Generator().manual_seed(step)
        draw = Source().draw(self.chain, self.model.clock, self.size, generator)
        # The data depend on the positions, so that a resume that loses them is seen.
        x0 = torch.randn(self.size, 3, 8, 8, generator=generator) + 0.01 * positions[0] - 0.02 * positions[1]
        if step == self.poison:
            x0[3] = float("nan")
        noise = torch.randn(self.size, 3, 8, 8, generator=generator)
        labels = torch.randint(0, 5, (self.size,), generator=generator)
        return Batch(x0, noise, Condition(labels), draw)


def make(folder: Path, streams: Streams | None = None, optim: OptimConfig | None = None, **changes: Any) -> Trainer:
    model = tiny_dit(seed=1)
    settings: dict[str, Any] = {"steps": 12, "batch_size": 8, "save_every": 4, "log_every": 3, **changes}
    return Trainer(
        network=model.network,
        parameters=dict(model.network.named_parameters()),
        objective=DiffTuning(model, model.process, model.prediction),
        streams=streams or Streams(),
        checkpoints=Checkpoints(folder / "checkpoints"),
        log=MetricsLog(folder / "metrics.jsonl"),
        config=TrainingConfig(**settings),
        optim=optim or OptimConfig(lr=1e-2, schedule="cosine", warmup_steps=2),
        ema_config=EMAConfig(decay=0.9),
        identity=Identity({"recipe_digest": "a"}),
        hooks=[Hook(4, lambda step: {"heldout": 1 / (1 + step)}, at_start=True)],
    )


def same(one: Mapping[str, Mapping[str, torch.Tensor]], other: Mapping[str, Mapping[str, torch.Tensor]]) -> bool:
    return all(torch.equal(one[group][name], other[group][name]) for group in one for name in one[group])


@pytest.mark.parametrize("stop", [1, 4, 7, 11])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, stop: int) -> None:
    whole = make(tmp_path / "whole")
    whole.run()
    make(tmp_path / "parts").run(until=stop)
    rest = make(tmp_path / "parts")
    rest.run()
    assert same(whole.tensors(), rest.tensors())
    assert whole.state.positions == rest.state.positions
    assert whole.log.read().records == rest.log.read().records  # type: ignore[attr-defined]


def test_every_intended_parameter_moves_and_the_average_follows(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    before = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    trainer.run()
    for name, value in trainer.parameters.items():
        assert not torch.equal(value, before[name]), name
        assert not torch.equal(trainer.ema.average[name], before[name]), name
        assert not torch.equal(trainer.ema.average[name], value), name


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    # All have gradients, so that it is the trainer's own parameters that decide what moves.
    assert all(value.requires_grad for value in trainer.network.parameters())
    before = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    kept = {name: value for name, value in trainer.parameters.items() if "attn1" in name}
    trainer = replace(trainer, parameters=kept)
    trainer.run()
    after = dict(trainer.network.named_parameters())
    assert {name for name, value in before.items() if not torch.equal(after[name], value)} == kept.keys()
    tensors = trainer.tensors()
    assert tensors["parameters"].keys() == tensors["ema"].keys() == kept.keys()


FACTORS = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: (1 + cos(pi * progress)) / 2,
    "linear": lambda progress: 1 - progress,
}
"""The learning rate after the warm-up as a share of its peak, by how far the other steps are done."""


@pytest.mark.parametrize(("schedule", "clip_norm"), [("constant", 0), ("cosine", 0), ("linear", 0), ("linear", 0.05)])
def test_tau_zero_is_standard_fine_tuning_bit_for_bit(tmp_path: Path, schedule: str, clip_norm: float) -> None:
    betas, decay = (0.8, 0.95), 0.1
    optim = OptimConfig(
        lr=1e-2, schedule=schedule, warmup_steps=2, weight_decay=decay, betas=betas, clip_norm=clip_norm
    )
    trainer = make(tmp_path, Streams(tau=0), optim=optim, log_every=1)
    trainer.run(until=5)
    model = tiny_dit(seed=1)
    parameters = list(model.network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, betas=betas, weight_decay=decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (step + 1) / 2 if step < 2 else FACTORS[schedule]((step - 2) / 10)
    )
    model.network.train()
    rates: list[float] = []
    for step in range(5):
        finetune_loss(model, model.process, model.prediction, Streams(tau=0).batch(step, (8 * step, 0))).backward()
        if clip_norm:
            norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
            assert norm > 2 * clip_norm, "or clipping would hardly be seen"
        rates += scheduler.get_last_lr()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    trained = dict(model.network.named_parameters())
    assert all(torch.equal(value, trained[name]) for name, value in trainer.parameters.items())
    assert [record["lr"] for record in trainer.log.read().records if "lr" in record] == rates  # type: ignore[attr-defined]


class Watched:
    """The objective, and how large each part was and how autocast stood when it was asked about it."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.sizes: list[int] = []
        self.autocast: set[tuple[bool, torch.dtype]] = set()

    def __call__(self, batch: Batch) -> Errors:
        self.sizes.append(len(batch))
        self.autocast.add((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return self.objective(batch)


@pytest.mark.parametrize(("accumulate", "processes", "passes"), [(4, 1, 4), (4, 2, 2), (4, 4, 1), (1, 3, 1), (4, 3, 1)])
def test_each_process_makes_at_most_a_pass_for_each_of_its_samples(
    accumulate: int, processes: int, passes: int
) -> None:
    assert TrainingConfig(batch_size=4, accumulate=accumulate).passes(processes) == passes


@pytest.mark.parametrize(("accumulate", "sizes"), [(1, [8]), (4, [2, 2, 2, 2]), (3, [3, 3, 2])])
def test_accumulation_changes_rounding_only(tmp_path: Path, accumulate: int, sizes: list[int]) -> None:
    trainer = make(tmp_path, accumulate=accumulate)
    anchor = Anchor(trainer.parameters, 0.1)
    with torch.no_grad():
        for value in trainer.parameters.values():
            value += 0.1 * torch.randn_like(value)
    watched = Watched(trainer.objective)
    trainer = replace(trainer, objective=watched, penalty=anchor)
    batch = Streams().batch(0, (0, 0))
    parameters = list(trainer.parameters.values())
    errors = trainer.objective(batch)
    # Gradients, since AdamW does not see by what they are multiplied.
    whole = torch.autograd.grad(errors.loss() + anchor(), parameters)
    watched.sizes.clear()
    found = trainer.backward(batch)
    assert watched.sizes == sizes
    for name, value, truth in zip(trainer.parameters, parameters, whole, strict=True):
        torch.testing.assert_close(value.grad, truth, rtol=1e-5, atol=1e-7, msg=name)
    torch.testing.assert_close(found.error, errors.error.detach())


@pytest.mark.parametrize(("precision", "dtype"), [("no", None), ("bf16", torch.bfloat16)])
def test_the_network_is_asked_in_the_precision_of_the_recipe_and_weights_stay_whole(
    tmp_path: Path, precision: str, dtype: torch.dtype | None
) -> None:
    trainer = make(tmp_path, precision=precision)
    watched = Watched(trainer.objective)
    trainer = replace(trainer, objective=watched)
    trainer.run(until=1)
    assert len(watched.sizes) == 1
    assert {kind if on else None for on, kind in watched.autocast} == {dtype}
    kept = trainer.tensors()
    assert {value.dtype for group in ("parameters", "ema") for value in kept[group].values()} == {torch.float32}


def test_what_is_random_inside_the_network_is_of_the_seed(tmp_path: Path) -> None:
    ends = []
    for number, seed in enumerate((0, 0, 1)):
        trainer = replace(make(tmp_path / str(number)), seed=seed)
        for module in trainer.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.5
        torch.rand(number)  # what else was drawn before does not matter
        trainer.run(until=2)
        ends.append(trainer.tensors())
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_gradient_checkpointing_changes_nothing(tmp_path: Path, precision: str) -> None:
    plain = make(tmp_path / "1", precision=precision)
    saving = make(tmp_path / "2", precision=precision, gradient_checkpointing=True)
    plain.run(until=2)
    saving.run(until=2)
    assert same(plain.tensors(), saving.tensors())


def test_a_loss_that_is_not_finite_stops_with_step_part_and_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss of step 7 .*(target|bank).* checkpoint is of step 4\."):
        make(tmp_path, Streams(poison=6)).run()
    last = Checkpoints(tmp_path / "checkpoints").last()
    assert last is not None
    assert last.name == "step-00000004"


def test_old_checkpoints_go_and_the_best_stays(tmp_path: Path) -> None:
    trainer = make(tmp_path, save_every=1, keep=2)
    heldout = iter([5.0, 1.0, 2.0, 3.0])
    trainer.hooks = [Hook(4, lambda step: {"heldout": next(heldout)}, at_start=True)]
    trainer.run()
    names = [path.name for path in trainer.checkpoints.listing()]
    assert names == ["step-00000004", "step-00000011", "step-00000012"]
    best = trainer.checkpoints.best()
    assert best is not None
    assert best.name == "step-00000004"


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    make(tmp_path).run(until=4)
    file = tmp_path / "checkpoints/step-00000004/parameters.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="is not what was written"):
        make(tmp_path).run()


def test_a_half_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    make(tmp_path).run(until=4)
    torn = tmp_path / "checkpoints/.writing-step-00000008"
    torn.mkdir()
    (torn / "parameters.safetensors").write_bytes(b"half")
    trainer = make(tmp_path)
    assert trainer.resume()
    assert trainer.state.step == 4


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    make(tmp_path).run(until=4)
    trainer = make(tmp_path)
    trainer.identity = Identity({"recipe_digest": "b"}, differs=lambda: "; optim.lr was 1 and is 2")
    with pytest.raises(CheckpointError, match=r"another recipe digest \(a, now b; optim.lr was 1 and is 2\)"):
        trainer.run()
    trainer.identity = Identity({"recipe_digest": "b"}, formerly=lambda step: {"recipe_digest": {"a", f"c{step}"}})
    trainer.run()
    assert make(tmp_path).checkpoints.last_step() == 12


def heldout(*errors: float) -> list[Hook]:
    """What is measured after steps 0, 4, 8 and 12."""
    return [Hook(4, lambda step: {"heldout": errors[step // 4]}, at_start=True)]


def test_the_model_as_it_was_can_be_the_best(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.hooks = heldout(1, 5, 6, 7)
    before = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    trainer.run()
    assert (trainer.state.best, trainer.state.best_step) == (1, 0)
    best = trainer.checkpoints.best()
    assert best is not None
    assert all(torch.equal(read(best)[0]["ema"][name], value) for name, value in before.items())


@pytest.mark.parametrize("stop", [None, 6])
def test_an_error_that_is_not_a_number_is_no_best(tmp_path: Path, stop: int | None) -> None:
    for until in dict.fromkeys((stop, None)):
        trainer = make(tmp_path)
        trainer.hooks = heldout(float("nan"), float("nan"), 2, 3)
        trainer.run(until)
    assert (trainer.state.best, trainer.state.best_step) == (2, 8)


def test_state_is_json_and_names_its_digests(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.run()
    state = json.loads((tmp_path / "checkpoints/step-00000012/state.json").read_text())
    assert state["step"] == 12
    assert sum(state["positions"]) == 12 * 8
    assert set(state["digests"]) == {"parameters", "ema", "optimizer"}


def test_learning_rate_warms_up_and_falls() -> None:
    config = OptimConfig(lr=1.0, schedule="cosine", warmup_steps=10)
    assert [learning_rate(step, 110, config) for step in (0, 9, 10)] == [0.1, 1.0, 1.0]
    assert learning_rate(60, 110, config) == pytest.approx(0.5)
    assert learning_rate(110, 110, config) == pytest.approx(0.0)
    linear = config.model_copy(update={"schedule": "linear"})
    assert [learning_rate(step, 110, linear) for step in (0, 9, 10, 60, 110)] == [0.1, 1.0, 1.0, 0.5, 0.0]
