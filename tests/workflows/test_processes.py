"""The verbs in several processes, as a launcher starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from difftuning.bank.card_file import read_card
from difftuning.json_files import MetricsLog
from difftuning.lock import alone
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.recipe import load
from difftuning.workflows.train import train
from launching import run

pytestmark = pytest.mark.slow
VERB = ("-m", "difftuning")
TOLD = ("step", "retained", "frechet", "heldout")


def one_result(done: list[tuple[int, str, str]]) -> Any:
    assert [code for code, _, _ in done] == [0, 0], done
    assert done[1][1] == "", "only the main process prints"
    return json.loads(done[0][1])


def test_train_and_evaluate_by_two_give_what_one_gives(recipe_file: Path, tmp_path: Path) -> None:
    one = train(load(str(recipe_file), [f"out={tmp_path / 'one'}"]))
    two = one_result(run([*VERB, "train", str(recipe_file), f"out={tmp_path / 'two'}", "--json"]))
    assert two["heldout"] == pytest.approx(one["heldout"], abs=1e-5)
    assert {key: two[key] for key in ("step", "bank_coverage", "target_epochs")} == {
        key: one[key] for key in ("step", "bank_coverage", "target_epochs")
    }
    assert read_card(tmp_path / "two/bank").digest() == read_card(tmp_path / "one/bank").digest()
    names = [{str(path.relative_to(run)) for path in run.rglob("*")} for run in (tmp_path / "one", tmp_path / "two")]
    assert names[0] == names[1]
    judged = one_result(run([*VERB, "evaluate", str(tmp_path / "one"), "--json"]))
    assert judged == json.loads(json.dumps(evaluate(tmp_path / "one"))), "the same numbers, bit for bit"
    extended = one_result(run([*VERB, "bank", "extend", str(tmp_path / "two/bank"), "30", "--json"]))
    assert extended["config"]["count"] == 30
    drawn = one_result(run([*VERB, "sample", str(tmp_path / "one"), "--out", str(tmp_path / "drawn"), "--json"]))
    assert len(list((tmp_path / "drawn").iterdir())) == drawn["count"]


def test_train_with_a_report_and_verbs_of_one_process(recipe_file: Path, tmp_path: Path) -> None:
    done = one_result(run([*VERB, "train", str(recipe_file), "--report", "--json"]))
    assert Path(done["report"]).is_file()
    told = one_result(run([*VERB, "info", str(tmp_path / "run"), "--json"]))
    assert told["weights_digest"] == done["weights_digest"]


@pytest.mark.parametrize("sharing", [{}, {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}])
def test_an_error_is_said_once(sharing: dict[str, str], recipe_file: Path, tmp_path: Path) -> None:
    done = run([*VERB, "train", str(recipe_file), "optim.lrr=1"], **sharing)
    assert [code for code, _, _ in done] == [2, 2]
    lines = [line for _, _, err in done for line in err.splitlines()]
    assert len(lines) == 1, lines
    assert "unknown key 'optim.lrr'" in lines[0]


def test_an_error_of_one_process_ends_all_in_one_line(recipe_file: Path, tmp_path: Path) -> None:
    with alone(tmp_path / "run/.lock"):
        done = run([*VERB, "train", str(recipe_file), "--quiet"], seconds=120)
    assert done[0][0] == 2
    assert done[1][0] != 0
    lines = [line for _, _, err in done for line in err.splitlines()]
    assert len(lines) == 1, lines
    assert "another process is at work" in lines[0]


def test_shared_weights_from_recipe_to_model(recipe_file: Path, tmp_path: Path) -> None:
    # What is measured while training asks all processes, which have the weights in parts.
    measured = ["coefficients.psi={kind: adaptive}", "coefficients.whole_target=true", "evaluation.distance_every=6"]
    one = train(load(str(recipe_file), [f"out={tmp_path / 'one'}", *measured]))
    sharing = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}
    two = one_result(run([*VERB, "train", str(recipe_file), f"out={tmp_path / 'two'}", *measured, "--json"], **sharing))
    assert two["heldout"] == pytest.approx(one["heldout"], abs=1e-5)
    logs = [MetricsLog(tmp_path / name / "metrics.jsonl").read().records for name in ("one", "two")]
    kept = [[{key: value for key, value in one.items() if key in TOLD} for one in log] for log in logs]
    assert kept[1] == [pytest.approx(one, rel=1e-3) for one in kept[0]]
    evaluate(tmp_path / "two")
    refused = run([*VERB, "train", str(recipe_file), "anchor={kind: l2-sp, strength: 1}"], **sharing)
    assert [code for code, _, _ in refused] == [2, 2]
    assert "anchor needs all weights" in "".join(err for _, _, err in refused)


def test_accelerate_launch_starts_two_without_a_gpu(recipe_file: Path, tmp_path: Path) -> None:
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    verb = ["-m", "difftuning", "bank", "build", str(recipe_file), "--json"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*accelerate, "--multi_gpu", *plain, *verb], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["count"] == 12
    refused = subprocess.run([*accelerate, "--cpu", *plain, *verb], capture_output=True, text=True, env=environment)
    assert "--multi_gpu" in refused.stderr
