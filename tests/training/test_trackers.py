"""What goes to tensorboard is what goes to metrics.jsonl, read back from tensorboard's own files."""

import importlib.util
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from difftuning.errors import ConfigError
from difftuning.json_files import MetricsLog
from difftuning.training import trackers
from difftuning.training.trackers import TrackedLog, open_trackers


def test_tensorboard_gets_what_the_file_gets(tmp_path: Path) -> None:
    record = MetricsLog(tmp_path / "metrics.jsonl")
    log = TrackedLog(record, open_trackers(["tensorboard"], tmp_path, "run"))
    for step in (1, 2, 3):
        log.write(step, {"loss": 1 / step, "heldout": 2.0 * step})
    log.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in ("loss", "heldout"):
        assert [(event.step, event.value) for event in events.Scalars(name)] == [
            (entry["step"], pytest.approx(entry[name], rel=1e-6)) for entry in record.read().records
        ]


def test_the_record_is_rewound_and_goes_on(tmp_path: Path) -> None:
    record = MetricsLog(tmp_path / "metrics.jsonl")
    log = TrackedLog(record, [])
    for step in (1, 2, 3):
        log.write(step, {"loss": 0.5})
    log.rewind(1)
    log.write(2, {"loss": 0.25})
    assert [(entry["step"], entry["loss"]) for entry in record.read().records] == [(1, 0.5), (2, 0.25)]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trackers=wandb needs the extra: pip install 'difftuning\[wandb\]'"):
        open_trackers(["wandb"], tmp_path, "run")


def test_every_name_is_an_extra_of_the_package() -> None:
    extras = set(importlib.metadata.metadata("difftuning").get_all("Provides-Extra") or [])
    assert set(trackers.TrackerName.__args__) <= extras
