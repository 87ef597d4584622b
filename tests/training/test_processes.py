"""Several processes do what one does: real ones, that talk through gloo."""

from __future__ import annotations

import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import difftuning.processes as processes
from difftuning.bank.card_file import read_card
from difftuning.bank.read import Bank
from difftuning.errors import ConfigError
from difftuning.json_files import MetricsLog
from difftuning.processes import Processes
from difftuning.training.checkpoints import Checkpoints, read
from difftuning.types import Batch
from launching import finish, run, start
from training.shared import BATCH, ITEMS, STEPS, latents, streams, trainer_of

SCRIPT = str(Path(__file__).with_name("shared.py"))
ZERO = {
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
    "ACCELERATE_USE_CPU": "false",  # else accelerate would leave DeepSpeed out
    "DS_ACCELERATOR": "cpu",
}
with_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed")
SHARING = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}


def tensors(folder: Path) -> dict[str, dict[str, Tensor]]:
    last = Checkpoints(folder / "checkpoints").last()
    assert last is not None
    return read(last)[0]


def apart(one: Path, other: Path, left_out: str = "attn1.to_k.bias") -> float:
    """The largest difference between the weights, averages and moments of two runs.

    What is added to all keys alike, softmax takes away again: the gradient of their bias is rounding, which Adam makes as large as
    any other step.
    """
    first, second = (
        {
            group: {name: value for name, value in found.items() if not name.endswith(left_out)}
            for group, found in run.items()
        }
        for run in (tensors(one), tensors(other))
    )
    assert {group: sorted(first[group]) for group in first} == {group: sorted(second[group]) for group in second}
    return max(float((first[g][n] - second[g][n]).abs().max()) for g in first for n in first[g])


def logged(folder: Path) -> list[dict[str, Any]]:
    return MetricsLog(folder / "metrics.jsonl").read().records


def assert_same_log(one: Path, other: Path) -> None:
    first, second = logged(one), logged(other)
    assert [list(record) for record in first] == [list(record) for record in second]
    for mine, theirs in zip(first, second, strict=True):
        assert theirs == pytest.approx(mine, abs=1e-6), mine["step"]


def launched(folder: Path, until: int = STEPS, *changes: str, count: int = 2, **environment: str) -> list[str]:
    """What each process says."""
    done = run([SCRIPT, str(folder), str(until), *changes], count, **environment)
    assert [code for code, _, _ in done] == [0] * count, done
    return [out.strip() for _, out, _ in done]


class Seen:
    """Items, and which of them were read."""

    def __init__(self, items: Any) -> None:
        self.items, self.read = items, []  # type: ignore[var-annotated]

    def __len__(self) -> int:
        return len(self.items)

    def get(self, indices: Tensor, *flip: Tensor) -> Tensor:
        self.read += indices.tolist()
        found: Tensor = self.items.get(indices, *flip)
        return found

    def classes(self, indices: Tensor) -> Tensor:
        found: Tensor = self.items.classes(indices)
        return found


def values(batch: Batch) -> tuple[Tensor, ...]:
    return batch.x0, batch.noise, batch.condition.labels, batch.draw.t, batch.draw.weight


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_parts_of_all_processes_are_the_batch_of_one_and_each_reads_its_own(tmp_path: Path, count: int) -> None:
    trainer_of(tmp_path)
    bank = Bank(tmp_path / "bank")
    seen = [(Seen(latents()), Seen(bank)) for _ in range(count)]
    parts = [streams(*pair, processes=Processes(rank, count)) for rank, pair in enumerate(seen)]  # type: ignore[arg-type]
    positions, whole, steps = (0, 0), streams(latents(), bank), 0
    while min(positions[0] / ITEMS, positions[1] / len(bank)) < 2:
        batch, shares = whole.batch(steps, positions), [one.batch(steps, positions) for one in parts]
        for share in shares:
            assert share.whole is not None
            assert torch.equal(share.whole.t, batch.draw.t)
        for filled, wanted in zip(zip(*map(values, shares), strict=True), values(batch), strict=True):
            assert torch.equal(torch.cat(filled), wanted)
        used = int(batch.draw.from_bank.sum())
        positions, steps = (positions[0] + BATCH - used, positions[1] + used), steps + 1
    for stream, (length, used) in enumerate(zip((ITEMS, len(bank)), positions, strict=True)):
        times = torch.bincount(torch.tensor([item for one in seen for item in one[stream].read]), minlength=length)
        assert int(times.sum()) == used
        assert int(times.max() - times.min()) <= 1, "an item came again before another came once"


def test_each_process_has_a_dropout_of_its_own(tmp_path: Path) -> None:
    """The CPU reads the low 32 bits of a seed alone."""
    trainer, masks = trainer_of(tmp_path), []
    for rank in range(3):
        trainer.processes = Processes(rank, 1)
        trainer._optimise(trainer.streams.batch(0, (0, 0)))
        masks.append(torch.dropout(torch.ones(64), 0.5, True))
    assert len({tuple(mask.tolist()) for mask in masks}) == 3


def test_too_many_processes_for_a_batch_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difftuning.training.trainer.present", lambda: Processes(0, 8))
    with pytest.raises(ConfigError, match="batch_size=7 is too little for 8 processes; launch at most 7"):
        trainer_of(tmp_path)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            ZERO | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
            "stages 1 and 2, .* launched with 3; .* --use_fsdp --fsdp_version 2",
        ),
        (
            ZERO | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": "ds.json"},
            "ds.json of DeepSpeed would say it once more; .* --zero_stage 2",
        ),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "second version of FSDP"),
        ({"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}, "has started one: .* --multi_gpu"),
    ],
)
def test_a_launch_that_cannot_work_is_refused(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_joined", None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        processes.present()


def test_two_processes_train_and_draw_as_one_does(tmp_path: Path) -> None:
    launched(tmp_path / "two")
    trainer_of(tmp_path / "one").run()
    assert read_card(tmp_path / "two/bank") == read_card(tmp_path / "one/bank"), "the bank's digest"
    assert_same_log(tmp_path / "one", tmp_path / "two")
    assert apart(tmp_path / "one", tmp_path / "two") < 1e-6


@pytest.mark.slow
def test_the_number_of_processes_may_change_on_resume(tmp_path: Path) -> None:
    trainer_of(tmp_path / "one").run()
    changing = tmp_path / "changing"
    trainer_of(changing).run(until=5)
    launched(changing, 10)
    trainer_of(changing).run()
    assert_same_log(tmp_path / "one", changing)
    assert apart(tmp_path / "one", changing) < 1e-6


@pytest.mark.slow
def test_passes_of_a_step_and_a_third_process_change_rounding_only(tmp_path: Path) -> None:
    trainer_of(tmp_path / "one").run()
    launched(tmp_path / "three", STEPS, "accumulate=4", count=3)  # more than some have samples
    assert apart(tmp_path / "one", tmp_path / "three") < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "kind"),
    [pytest.param(SHARING, "DTensor", id="fsdp2"), pytest.param(ZERO, "Tensor", id="zero", marks=with_deepspeed)],
)
def test_what_is_shared_trains_as_one_process_does_and_resumes_exactly(
    environment: dict[str, str], kind: str, tmp_path: Path
) -> None:
    said = launched(tmp_path / "whole", **environment)
    assert [lines.splitlines()[-1] for lines in said] == [f"{rank} {STEPS} {kind}" for rank in (0, 1)]
    launched(tmp_path / "parts", 7, **environment)
    launched(tmp_path / "parts", **environment)
    assert apart(tmp_path / "whole", tmp_path / "parts", left_out="none") == 0
    trainer_of(tmp_path / "one").run()
    assert_same_log(tmp_path / "one", tmp_path / "whole")
    assert apart(tmp_path / "one", tmp_path / "whole") < 1e-6


def test_without_deepspeed_there_is_a_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_joined", None)
    monkeypatch.setattr(processes, "find_spec", lambda name: None)
    for name, value in ZERO.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"pip install difftuning\[deepspeed\]"):
        processes.present()


@with_deepspeed
@pytest.mark.slow
def test_a_run_goes_from_deepspeed_to_one_process_and_back(tmp_path: Path) -> None:
    changing = tmp_path / "changing"
    launched(changing, 5, "accumulate=2", **ZERO)
    trainer_of(changing, accumulate=2).run(until=10)
    launched(changing, STEPS, "accumulate=2", **(ZERO | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "1"}))
    trainer_of(tmp_path / "one").run()
    assert apart(tmp_path / "one", changing) < 1e-6


@pytest.mark.slow
def test_a_run_goes_from_shared_weights_to_one_process_and_on_to_two_with_all(tmp_path: Path) -> None:
    changing = tmp_path / "changing"
    launched(changing, 5, "accumulate=2", **SHARING)
    trainer_of(changing, accumulate=2).run(until=10)
    launched(changing, STEPS, "accumulate=2")
    trainer_of(tmp_path / "one").run()
    assert apart(tmp_path / "one", changing) < 1e-6


@pytest.mark.slow
def test_asked_to_stop_all_save_after_the_same_step(tmp_path: Path) -> None:
    running = start([SCRIPT, str(tmp_path), "100000", "steps=100000", "save_every=100000"])
    while len(logged(tmp_path)) < 20:
        time.sleep(0.2)
    running[1].send_signal(signal.SIGTERM)  # one is told, and both go
    done = finish(running)
    assert all("Preempted" in err for _, _, err in done)
    last = Checkpoints(tmp_path / "checkpoints").last_step()
    assert last > 0
    assert all(f"saved after step {last} of" in err for _, _, err in done)
