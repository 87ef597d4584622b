"""The loop on a real tiny DiT: exact resume, exactly the intended parameters, stops that say why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import Source
from difftuning.errors import CheckpointError, TrainingError
from difftuning.json_files import MetricsLog
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.objectives.finetune import finetune_loss
from difftuning.training.checkpoints import Checkpoints, read
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.hooks import Hook
from difftuning.training.identity import Identity
from difftuning.training.optim import OptimConfig, learning_rate
from difftuning.training.trainer import Trainer
from difftuning.types import Batch, Condition
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
    kept = {name: value for name, value in trainer.parameters.items() if "attn1" in name}
    for name, value in trainer.parameters.items():
        value.requires_grad_(name in kept)
    frozen = {name: value.detach().clone() for name, value in trainer.parameters.items() if name not in kept}
    trainer.parameters = kept
    trainer.__post_init__()
    trainer.run()
    after = dict(trainer.network.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())


def test_tau_zero_is_standard_fine_tuning_bit_for_bit(tmp_path: Path) -> None:
    trainer = make(tmp_path, Streams(tau=0), optim=OptimConfig(lr=1e-2, clip_norm=0))
    trainer.run(until=3)
    model = tiny_dit(seed=1)
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=1e-2, weight_decay=0, fused=True)
    model.network.train()
    used = 0
    for step in range(3):
        finetune_loss(model, model.process, model.prediction, Streams(tau=0).batch(step, (used, 0))).backward()
        optimizer.step()
        optimizer.zero_grad()
        used += 8
    trained = dict(model.network.named_parameters())
    assert all(torch.equal(value, trained[name]) for name, value in trainer.parameters.items())


def test_accumulation_changes_rounding_only(tmp_path: Path) -> None:
    plain, split = make(tmp_path / "1"), make(tmp_path / "4", accumulate=4)
    plain.run(until=2)
    split.run(until=2)
    for name, value in plain.parameters.items():
        assert torch.allclose(value, split.parameters[name], atol=2e-3), name
    assert any(not torch.equal(value, split.parameters[name]) for name, value in plain.parameters.items())


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_gradient_checkpointing_changes_nothing(tmp_path: Path, precision: str) -> None:
    plain = make(tmp_path / "1", precision=precision)
    saving = make(tmp_path / "2", precision=precision, gradient_checkpointing=True)
    plain.run(until=2)
    saving.run(until=2)
    assert same(plain.tensors(), saving.tensors())


def test_a_loss_that_is_not_finite_stops_with_step_part_and_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss of step 7 .*target|bank.* checkpoint is of step 4\."):
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
    trainer.identity = Identity({"recipe_digest": "b"}, formerly={"recipe_digest": {"a", "c"}})
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
