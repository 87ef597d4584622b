"""What an earlier version wrote is read; what a later one will write is refused by its number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from difftuning.bank.audit import verify
from difftuning.bank.read import Bank
from difftuning.checksums import check_sums
from difftuning.config.loading import load_recipe
from difftuning.config.validate import validate
from difftuning.errors import BankError, CheckpointError
from difftuning.json_files import MetricsLog
from difftuning.results import read_rows
from difftuning.training.checkpoints import FORMAT, Checkpoints, read
from difftuning.tuning.store import read_tuner
from difftuning.workflows.recipe import Recipe

SAMPLES = Path(__file__).parents[1] / "formats"
"""A run in each format that was ever written, made by `formats/make.py` of its time."""
STEP = "checkpoints/step-00000004"


def test_there_is_a_sample_of_every_format() -> None:
    assert sorted(path.name for path in SAMPLES.iterdir() if path.is_dir()) == [str(n + 1) for n in range(FORMAT)]


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_a_run_of_every_format_is_read(number: int) -> None:
    run = SAMPLES / str(number)
    recipe = validate(Recipe, load_recipe(run / "recipe.yaml"))
    assert recipe.tuner.kind == "lora"
    last = Checkpoints(run / "checkpoints").last()
    assert last == run / STEP
    groups, state = read(last)
    assert (state["format"], state["step"]) == (number, 4)
    digests = (recipe.digest(), recipe.by_content().digest())
    assert state["recipe_digest"] in digests, "a later version takes the run for another one"
    assert Bank(run / "bank").digest == state["bank_digest"]
    assert verify(run / "bank").ok
    check_sums(run / "tuner", "")
    about, learned = read_tuner(run / "tuner")
    assert about["classes"] == ["dark", "light"]
    assert groups["ema"].keys() == learned.keys()
    assert all(torch.equal(groups["ema"][name], value) for name, value in learned.items())
    assert {row.metric for row in read_rows(run / "results.json")} >= {"heldout", "frechet"}
    assert MetricsLog(run / "metrics.jsonl").read().records[-1]["step"] == 4


@pytest.mark.parametrize(
    ("file", "reader"),
    [
        (f"{STEP}/state.json", lambda run: read(run / STEP)),
        ("bank/card.json", lambda run: Bank(run / "bank")),
        ("tuner/tuner.json", lambda run: read_tuner(run / "tuner")),
    ],
)
def test_a_later_format_is_refused_by_its_number(tmp_path: Path, file: str, reader: object) -> None:
    run = tmp_path / "run"
    shutil.copytree(SAMPLES / "1", run)  # unsealed, so that the number alone is what is wrong
    content = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps({**content, "format": 99}))
    with pytest.raises((CheckpointError, BankError), match="of format 99, and this version reads"):
        reader(run)  # type: ignore[operator]
