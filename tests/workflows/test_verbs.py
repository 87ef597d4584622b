"""The verbs one after the other on real files, as a user would call them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

import pytest
import torch
from PIL import Image

from difftuning.backbones.loading import load as load_model
from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.read import Bank
from difftuning.cli.main import main
from difftuning.data.opening import open_target
from difftuning.data.order import Order
from difftuning.data.target import Target
from difftuning.errors import (
    BankError,
    CheckpointError,
    ConfigError,
    DataError,
    DifftuningError,
    ModelError,
    StorageError,
    TrainingError,
)
from difftuning.evaluation.features import EfficientNetLite0, extract
from difftuning.json_files import MetricsLog, write_json
from difftuning.objectives.distillation import Distillation
from difftuning.results import Row
from difftuning.sampling.loop import sample as solve
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.training.checkpoints import Checkpoints, read, tensors_digest
from difftuning.training.streams import DrawnStreams
from difftuning.training.trainer import Trainer
from difftuning.types import Condition
from difftuning.workflows import bank
from difftuning.workflows.advise import advise
from difftuning.workflows.assemble import assemble, prepare
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.display import Silent
from difftuning.workflows.drawing import at_once, denoiser_of, draw_images, images_of, spread
from difftuning.workflows.evaluate import evaluate, measure, method_of
from difftuning.workflows.heldout import bank_heldout, target_heldout
from difftuning.workflows.info import info
from difftuning.workflows.judge import Judge
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import SamplingConfig, load
from difftuning.workflows.report import report
from difftuning.workflows.runs import open_run, recipe_of, step_of
from difftuning.workflows.sample import sample
from difftuning.workflows.train import check, train
from tiny import save_tiny_dit, tiny_dit


class Noted(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_from_recipe_to_report(recipe_file: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "images")
    recipe = load(str(recipe_file), [])
    trained = train(recipe)
    assert trained["step"] == 12
    assert trained["bank_coverage"] > 0
    logged = [
        entry["bank_coverage"]
        for entry in MetricsLog(tmp_path / "run/metrics.jsonl").read().records
        if "heldout" in entry
    ]
    assert logged == sorted(logged)
    assert logged[0] == 0
    assert logged[-1] == trained["bank_coverage"]
    assert (tmp_path / "run/samples/step-00000012.png").is_file()
    run = tmp_path / "run"
    model = load_model(str(run / "model"))
    assert model.labels.names == ("dark", "light")
    rows = evaluate(run)["rows"]
    metrics = {row["metric"] for row in rows}
    assert {
        "frechet",
        "kid",
        "precision",
        "recall",
        "memorised",
        "heldout",
        "heldout_bank",
        "heldout_best",
        "drift",
        "drift_per_parameter",
        "drift_of_layer",
    } <= metrics
    layers = [row["value"] for row in rows if row["metric"] == "drift_of_layer"]
    assert sum(layers) == pytest.approx(next(row["value"] for row in rows if row["metric"] == "drift"))
    assert all(Row.model_validate(row) for row in rows)
    assert {row["network"] for row in rows if row["metric"] == "frechet"} == {"efficientnet-lite0@128"}
    unseen = Bank(recipe.heldout_bank_path)
    assert {row["against"] for row in rows if row["metric"] == "heldout_bank"} == {unseen.digest}
    found = diagnose(run, samples=4, shares=(0, 0.5, 1))
    assert [point["share"] for point in found["swap"]] == [0, 0.5, 1]
    page = report([run], run / "report.html")
    assert page.read_text().count("data:image/") >= 6
    drawn = sample(run, tmp_path / "drawn", count=3, labels=["light"])
    again = sample(run, tmp_path / "again", count=2, labels=["light"])
    assert [Path(file).read_bytes() for file in drawn["files"][:2]] == [Path(f).read_bytes() for f in again["files"]]
    assert contents(tmp_path / "images") == before, "the input folder was written to"


def test_a_diagnosis_begins_where_the_evaluation_ends(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), ["training.sample_every=0", "optim.lr=1e-2", "sampling.guidance=2"])
    train(recipe)
    told = {row["metric"]: row["value"] for row in evaluate(recipe.folder)["rows"]}
    found = diagnose(recipe.folder, samples=recipe.evaluation.samples, shares=(0, 0.5, 1))
    run = open_run(recipe.folder)
    judge, null = Judge(recipe, run.target), torch.full((recipe.evaluation.samples,), run.before.labels.null)
    plain = recipe.sampling.model_copy(update={"guidance": 1.0})
    replaced = judge.distances(draw_images(run.before, Condition(null), plain), Silent())
    for name in ("frechet", "kid"):
        assert found["swap"][0][name] == pytest.approx(told[name], rel=1e-5), "nothing is replaced"
        assert found["swap"][-1][name] == pytest.approx(replaced[name], rel=1e-5), "all steps are"
        assert len({round(point[name], 5) for point in found["swap"]}) == 3
    target = target_heldout(run.target.heldout, run.rows, run.before, recipe).without_condition(run.before)
    items = bank_heldout(Bank(recipe.heldout_bank_path), run.before, recipe)
    for name, metric, where in (("target", "heldout", target), ("bank", "heldout_bank", items)):
        assert fmean(found[name]["run"]) == pytest.approx(told[metric], rel=1e-9)
        assert found[name]["pretrained"] == where.curve(run.before).error.tolist()
        assert found[name]["run"] != found[name]["pretrained"]


@pytest.mark.parametrize("distance", ["frechet", "fid"])
def test_distances_while_training_end_in_the_one_of_the_run_and_change_nothing(
    recipe_file: Path, tmp_path: Path, distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The weights of FID's own network are not here, so the name of the distance stands for it.
    monkeypatch.setattr(EfficientNetLite0, "is_fid", distance == "fid")
    plain = train(load(str(recipe_file), [f"out={tmp_path / 'plain'}"]))
    told = train(load(str(recipe_file), [f"out={tmp_path / 'told'}", "evaluation.distance_every=5"]))
    assert told["weights_digest"] == plain["weights_digest"]
    rows = evaluate(tmp_path / "told")["rows"]
    for metric in (distance, "kid"):
        curve = {row["step"]: row["value"] for row in rows if row["metric"] == f"{metric}_curve"}
        assert list(curve) == [0, 5, 10, 12]
        assert curve[12] == pytest.approx(next(row["value"] for row in rows if row["metric"] == metric), rel=1e-5)
        lowest = next(row for row in rows if row["metric"] == f"{metric}_best")
        assert (lowest["value"], lowest["step"]) == min((value, step) for step, value in curve.items())
        assert lowest["network"] == "efficientnet-lite0@128"
        assert lowest["n"] == load(str(recipe_file), []).evaluation.samples
    page = report([tmp_path / "told"], tmp_path / "page.html").read_text()
    assert "Each point draws its samples from the same seeds" in page


def test_names_that_are_no_utf8_come_to_the_end(recipe_file: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "dark").rename(images / os.fsdecode(b"f\xe9e"))
    (images / os.fsdecode(b"\xe9.md")).write_text("beside")
    recipe = load(str(recipe_file), ["training.steps=2"])
    train(recipe, judged=True)
    evaluate(recipe.folder)
    report([recipe.folder], tmp_path / "page.html")
    assert {"f\\xe9e", "light"} <= {*load_model(str(recipe.folder / "model")).labels.names}
    assert (recipe.folder / "set-aside.txt").read_text().startswith("\\xe9.md\t")


def test_what_cannot_be_judged_is_refused_before_it_trains(recipe_file: Path, tmp_path: Path) -> None:
    for file in sorted((tmp_path / "images").rglob("*.png"))[3:]:
        file.unlink()
    recipe, shown = load(str(recipe_file), ["training.steps=2"]), Noted()
    with pytest.raises(DataError, match=r"1 image of .*images is held out, and distances need 2; set data\.heldout=2"):
        train(recipe, judged=True)
    assert not recipe.folder.exists()
    train(recipe, shown)
    assert any("set data.heldout=2" in line for line in shown.notes)
    for verb in (evaluate, diagnose):
        with pytest.raises(DataError, match=r"set data\.heldout=2"):
            verb(recipe.folder)


def test_training_again_changes_nothing(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), [])
    first = train(recipe)
    kept = contents(tmp_path / "run/checkpoints") | contents(tmp_path / "run/bank")
    assert train(recipe)["weights_digest"] == first["weights_digest"]
    assert contents(tmp_path / "run/checkpoints") | contents(tmp_path / "run/bank") == kept


def test_cached_latents_or_not_is_the_same_training(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for number, cache in enumerate(("one", "two", "one")):
        monkeypatch.setenv("DIFFTUNING_CACHE", str(tmp_path / cache))
        recipe = load(str(recipe_file), [f"out={tmp_path / str(number)}", "training.steps=3"])
        digests.append(train(recipe)["weights_digest"])
    assert len(set(digests)) == 1


ADAPTIVE = [
    "coefficients.psi={kind: adaptive}",
    "coefficients.whole_target=true",
    "optim.lr=0.1",
    "optim.clip_norm=100",
    "ema.decay=0",
]
"""With so large a step the error does not fall at every measurement, so that the bank is used."""


def test_killed_at_random_it_ends_with_the_same_weights(recipe_file: Path, tmp_path: Path) -> None:
    overrides = [*ADAPTIVE, "training.steps=60"]
    whole = train(load(str(recipe_file), [f"out={tmp_path / 'whole'}", *overrides]))
    assert whole["bank_coverage"] > 0
    command = [sys.executable, "-m", "difftuning", "train", str(recipe_file), *overrides, "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    delays, kills = random.Random(0), 0
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        try:
            # Longer each time, so that it ends on a slow machine too; the first ones die while the bank is drawn.
            out, err = process.communicate(timeout=6 + 3 * kills + delays.uniform(0, 3))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["weights_digest"] == whole["weights_digest"]
    ends = [read(Checkpoints(tmp_path / name / "checkpoints").last() or tmp_path)[0] for name in ("whole", "run")]
    assert all(torch.equal(ends[0][group][key], ends[1][group][key]) for group in ends[0] for key in ends[0][group])
    logs = [MetricsLog(tmp_path / name / "metrics.jsonl").read().records for name in ("whole", "run")]
    assert logs[0] == logs[1]


def test_asked_to_stop_a_process_saves_its_last_step_and_goes_on_to_the_same_weights(
    recipe_file: Path, tmp_path: Path
) -> None:
    overrides = ["training.steps=30", "training.save_every=1000", "training.heldout_every=1000"]
    whole = train(load(str(recipe_file), [f"out={tmp_path / 'whole'}", "training.sample_every=0", *overrides]))
    # Pictures after each step change nothing, and give time to ask long before the end.
    slow = [*overrides, "training.sample_every=1", "sampling.steps=20"]
    command = [sys.executable, "-m", "difftuning", "train", str(recipe_file), *slow]
    log = tmp_path / "run/metrics.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            # The first line is of the model as it was.
            until = time.monotonic() + 240
            while process.poll() is None and not (log.is_file() and log.stat().st_size) and time.monotonic() < until:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 143, err
    said = re.search(r"saved after step (\d+) of 30", " ".join(err.split()))
    assert said is not None, err
    step = int(said[1])
    assert 0 < step < 30
    assert Checkpoints(tmp_path / "run/checkpoints").last_step() == step
    assert train(load(str(recipe_file), overrides))["weights_digest"] == whole["weights_digest"]


def test_all_that_is_drawn_is_of_the_seed(recipe_file: Path, tmp_path: Path) -> None:
    asked = [f"bank_folder={tmp_path / 'bank'}", "tuner={kind: lora, rank: 2}"]
    bank.build(load(str(recipe_file), asked))
    one, same, other = (
        assemble(prepare(load(str(recipe_file), [*asked, f"out={tmp_path / str(number)}", f"seed={seed}"]))).trainer
        for number, seed in enumerate((0, 0, 1))
    )

    def drawn(trainer: Trainer) -> dict[str, torch.Tensor]:
        made = trainer.streams
        assert isinstance(made, DrawnStreams)
        assert isinstance(made.streams.bank_order, Order)
        batch = made.batch(0, (0, 0))
        orders = {"target": made.streams.target_order.indices(0, 50), "bank": made.streams.bank_order.indices(0, 50)}
        # Of LoRA's two factors the first is random, and the second is zero.
        tuned = torch.cat([value.detach().flatten() for value in trainer.parameters.values()])
        return {"t": batch.draw.t, "noise": batch.noise, "x0": batch.x0, "tuned": tuned, **orders}

    first, again, third = map(drawn, (one, same, other))
    assert all(torch.equal(again[key], value) for key, value in first.items())
    assert not [key for key, value in first.items() if torch.equal(third[key], value)]
    assert [trainer.seed for trainer in (one, same, other)] == [0, 0, 1]


def test_an_adaptive_psi_begins_as_standard_fine_tuning_and_is_told(recipe_file: Path, tmp_path: Path) -> None:
    trained = train(load(str(recipe_file), ADAPTIVE))
    records = MetricsLog(tmp_path / "run/metrics.jsonl").read().records
    told = {record["step"]: record["retained"] for record in records if "retained" in record}
    assert list(told) == [0, 4, 8, 12]
    assert told[0] == 0, "nothing is known yet"
    assert max(told.values()) > 0, "so large a step does not lower the error each time"
    plain = train(load(str(recipe_file), [f"out={tmp_path / 'plain'}", "coefficients.psi.tau=0", *ADAPTIVE[2:]]))
    logs = [MetricsLog(tmp_path / name / "metrics.jsonl").read().records for name in ("run", "plain")]
    losses = [[record["loss"] for record in log if "loss" in record and record["step"] <= 4] for log in logs]
    assert losses[0] == losses[1]
    assert trained["weights_digest"] != plain["weights_digest"]
    evaluate(tmp_path / "run")
    assert "coefficients of Diff-Tuning" in report([tmp_path / "run"], tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.heldout_every=0", "follows the held-out error"),
        ("distillation.weight=0.05", "a teacher is weighed by one xi"),
        ("coefficients.xi={kind: constant, value: 0.1}", "xi is set besides"),
    ],
)
def test_what_an_adaptive_psi_cannot_go_with(recipe_file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(str(recipe_file), [ADAPTIVE[0], override])


def test_a_recipe_without_a_psi_adapts_beside_the_whole_target(recipe_file: Path) -> None:
    unsaid, said, apart, fixed = (
        load(str(recipe_file), ["coefficients={}", *chosen])
        for chosen in ([], ADAPTIVE[:2], ["coefficients.whole_target=false"], ["coefficients.psi.tau=1"])
    )
    assert unsaid.coefficients.psi == said.coefficients.psi
    assert [one.coefficients.keeps_target for one in (unsaid, said, apart, fixed)] == [True, True, False, False]
    assert unsaid.digest() == said.digest(), "one training, one digest"
    assert len({one.digest() for one in (unsaid, apart, fixed)}) == 3


def test_an_adaptive_psi_without_the_time_to_adapt_is_told(recipe_file: Path) -> None:
    for every, told in ((6, True), (5, False)):
        lines: list[str] = []
        display = Silent()
        display.note = lines.append  # type: ignore[method-assign]
        check(load(str(recipe_file), [*ADAPTIVE, "training.steps=12", f"training.heldout_every={every}"]), display)
        assert any("retains nothing before step 12" in line for line in lines) == told


def test_an_adaptive_psi_depends_on_when_it_is_measured(recipe_file: Path) -> None:
    digests = {
        load(str(recipe_file), [*chosen, f"training.heldout_every={every}"]).digest()
        for chosen in (ADAPTIVE, [])
        for every in (4, 5)
    }
    assert len(digests) == 3


def test_what_a_few_shot_split_leaves_over_can_judge(recipe_file: Path, tmp_path: Path) -> None:
    split = ["data.per_class=2", "data.heldout=0.3", "training.steps=4"]
    train(load(str(recipe_file), split))
    run = open_run(tmp_path / "run")
    assert run.target.test is not None
    found = {}
    for part, images in (("null", run.target.heldout), ("test", run.target.test)):
        recipe = load(str(recipe_file), [*split, f"evaluation.part={part}"])
        found[part] = {row.metric: row.value for row in measure(run, recipe, Silent()).rows if not row.setting}
        curve = target_heldout(images, run.rows, run.model, recipe).curve(run.model)
        assert found[part]["heldout"] == curve.mean
    assert found["test"]["frechet"] != found["null"]["frechet"]
    assert "heldout_best" in found["null"]
    assert "heldout_best" not in found["test"], "while training, the held-out images were looked at"
    with pytest.raises(ConfigError, match=r"data\.per_class leaves over, and of .* none are; set it to null"):
        check(load(str(recipe_file), ["evaluation.part=test"]))
    with pytest.raises(ConfigError, match="judges images without maps"):
        load(str(recipe_file), ["evaluation.part=test", "control={kind: edge}"])


def test_a_run_is_not_judged_by_images_that_it_may_have_learned(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["training.steps=3"]))
    run = tmp_path / "run"
    had = open_run(run).target.train.digest
    for index in range(4):
        Image.new("RGB", (8, 8), (9 * index, 0, 0)).save(tmp_path / f"images/dark/more-{index}.png")
    for verb in (evaluate, diagnose, open_run):
        with pytest.raises(DataError, match=r"images to train on now than when .*run was trained on it.*give it back"):
            verb(run)
    assert not (run / "results.json").exists()
    assert len(sample(run, tmp_path / "drawn", count=2)["files"]) == 2
    for more in (tmp_path / "images/dark").glob("more-*"):
        more.unlink()
    assert open_run(run).target.train.digest == had
    # What an earlier version wrote says nothing of the images.
    write_json(run / "end.json", {"step": 3})
    assert step_of(recipe_of(run)) == 3
    open_run(run)


def test_standard_fine_tuning_needs_no_bank(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["coefficients.psi.tau=0", "training.steps=3"]))
    assert not (tmp_path / "run/bank").exists()


def test_what_a_recipe_names_in_vain_is_told(recipe_file: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    display = Silent()
    display.note = lines.append  # type: ignore[method-assign]
    plain, elsewhere = "coefficients.psi.tau=0", f"bank_folder={tmp_path / 'bnak'}"
    check(load(str(recipe_file), [plain, elsewhere, "data.prompt='a {label}'"]), display)
    told = [line for line in lines if "does nothing" in line or "no bank is there" in line]
    assert [line.partition(":")[0] for line in told] == ["data.prompt does nothing", elsewhere]
    bank.build(load(str(recipe_file), [elsewhere]))
    lines.clear()
    check(load(str(recipe_file), [plain, elsewhere]), display)
    assert not any("no bank is there" in line for line in lines)
    with pytest.raises(ModelError, match="there is no run or model folder"):
        sample(tmp_path / "rnu", tmp_path / "drawn")


def test_a_bank_of_another_model_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), ["training.steps=3"])
    bank.build(recipe)
    save_tiny_dit(tmp_path / "model", seed=5)
    with pytest.raises(BankError, match="digest"):
        train(recipe)


FRUGAL = (
    "training.offload=true",
    "training.gradient_checkpointing=true",
    "ema.device=cpu",
    "training.compile=false",
    "optim.eight_bit=false",
    "training.retention_labels=0",
)
"""What needs less memory or says what goes without saying, and trains the same."""


def test_what_moves_no_weight_does_not_end_a_run(recipe_file: Path) -> None:
    plain = load(str(recipe_file), [])
    for key in FRUGAL:
        frugal = load(str(recipe_file), [key])
        assert frugal.digest() == plain.digest()
        assert frugal.by_content().digest() == plain.by_content().digest()
        assert len(frugal.former_digests() - {plain.by_content().digest()}) == 3, "an earlier version took the key in"
    for key in ("optim.lr=0.5", "training.compile=true", "training.retention_labels=0.5"):
        assert load(str(recipe_file), [key]).digest() != plain.digest()
    whole = train(load(str(recipe_file), ["out=" + str(recipe_file.parent / "whole")]))
    bank.build(plain)
    assemble(prepare(plain)).trainer.run(until=5)
    assert train(load(str(recipe_file), list(FRUGAL)))["weights_digest"] == whole["weights_digest"]


def test_another_recipe_in_the_same_folder_is_refused(recipe_file: Path) -> None:
    train(load(str(recipe_file), ["training.steps=3"]))
    with pytest.raises(CheckpointError, match=r"another recipe digest .*; optim.lr was 0.001 and is 0.5\);"):
        train(load(str(recipe_file), ["training.steps=3", "optim.lr=0.5", "training.log_every=1"]))
    with pytest.raises(CheckpointError, match="another recipe digest"):
        train(load(str(recipe_file), ["training.steps=3", "optim.lr=1e-2"]))


@pytest.mark.parametrize("kind", ["timestep", "weight"])
def test_a_batch_that_cannot_be_split_is_refused_before_it_trains(recipe_file: Path, kind: str) -> None:
    recipe = load(
        str(recipe_file), ["coefficients.psi.kind=adaptive", f"realisation.kind={kind}", "training.batch_size=1"]
    )
    with pytest.raises(ConfigError, match="a batch of 1 cannot be split"):
        train(recipe)
    assert not recipe.folder.exists()


def test_a_run_goes_on_where_model_and_images_have_moved(recipe_file: Path, tmp_path: Path) -> None:
    whole = train(load(str(recipe_file), [f"out={tmp_path / 'whole'}"]))
    recipe = load(str(recipe_file), [])
    bank.build(recipe)
    assemble(prepare(recipe)).trainer.run(until=5)
    for name in ("model", "images"):
        (tmp_path / name).rename(tmp_path / f"moved-{name}")
    places = [f"model={tmp_path / 'moved-model'}", f"data.target={tmp_path / 'moved-images'}"]
    moved = load(str(recipe_file), places)
    with pytest.raises(CheckpointError, match="another recipe digest"):
        train(load(str(recipe_file), [*places, "data.flip=false"]))
    assert train(moved)["weights_digest"] == whole["weights_digest"]
    # Something else in the same place is told by its content.
    next((tmp_path / "moved-images").rglob("*.png")).unlink()
    with pytest.raises(CheckpointError, match="another data digest"):
        train(moved)


def test_what_cannot_be_read_is_listed_in_the_run_folder_and_replaced(recipe_file: Path, tmp_path: Path) -> None:
    overrides = ["training.steps=3", "data.per_class=2", "data.heldout=2"]
    target = assemble_target(recipe_file, overrides)
    chosen = target.source.origin(int(target.train.indices[0]))
    file = tmp_path / "images" / chosen
    file.write_bytes(file.read_bytes()[:60])
    (tmp_path / "images" / "dark" / "notes.txt").write_text("no image")
    train(load(str(recipe_file), overrides))
    listed = [line.split("\t")[0] for line in (tmp_path / "run/set-aside.txt").read_text().splitlines()]
    assert chosen in listed
    assert set(listed) <= {chosen, "dark/notes.txt"}
    # An image to spare takes its place: both classes still have the two that were asked for.
    assert sorted(assemble_target(recipe_file, overrides).train.labels.tolist()) == [0, 0, 1, 1]
    file.write_bytes(b"")
    train(load(str(recipe_file), [*overrides, f"out={tmp_path / 'again'}"]))
    assert (tmp_path / "again/set-aside.txt").is_file()


def assemble_target(recipe_file: Path, overrides: list[str]) -> Target:
    recipe = load(str(recipe_file), overrides)
    model = pretrained(recipe)
    return open_target(recipe.data, model.image_size, model.codec)


def test_kept_labels_by_position_are_judged(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["training.steps=3", "labels.kind=keep"]))
    names = load_model(str(tmp_path / "run/model")).labels.names
    assert not {"dark", "light"} & set(names)
    assert evaluate(tmp_path / "run")["rows"]


def test_half_precision_draws_another_bank_and_is_refused_for_the_old_one(recipe_file: Path, tmp_path: Path) -> None:
    full = bank.build(load(str(recipe_file), [f"bank_folder={tmp_path / 'full'}"]))
    half = bank.build(load(str(recipe_file), [f"bank_folder={tmp_path / 'half'}", "bank.precision=bf16"]))
    one, other = (Bank(tmp_path / name).get(torch.arange(12)) for name in ("full", "half"))
    assert full.digest() != half.digest()
    assert not torch.equal(one, other)
    assert torch.allclose(one, other, atol=0.1)
    with pytest.raises(BankError, match="precision"):
        bank.build(load(str(recipe_file), [f"bank_folder={tmp_path / 'full'}", "bank.precision=bf16"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", "did you mean 'lr'"),
        ("coefficients.psi.kind=pow", "power"),
        ("training.steps=0", r"training\.steps"),
    ],
)
def test_wrong_overrides(recipe_file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(str(recipe_file), [override])


def test_the_shipped_recipes_are_whole() -> None:
    recipe = load("demo", [])
    assert recipe.model == "dit-icons-32"
    assert recipe.data.target == "openmoji"
    assert load("own-images", ["data.target=./mine"]).data.per_class is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.target=./nosuch", "neither a path"),
        ("model=dit-icon-32", "dit-icons-32"),
        ("device=gpu", "cpu, cuda"),
        ("evaluation.network=nosuch", "feature network 'nosuch'"),
        ("labels.kind=from-source labels.start.cat=dog", "no class of the target"),
        ("trackers=wandb", "pip install"),
    ],
)
def test_what_is_wrong_is_found_before_the_bank_is_drawn(
    recipe_file: Path, tmp_path: Path, override: str, message: str
) -> None:
    recipe = load(str(recipe_file), override.split())
    with pytest.raises(DifftuningError, match=message):
        train(recipe)
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_named(recipe_file: Path) -> None:
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ConfigError, match=f"device '{missing}': PyTorch finds no such device"):
        train(load(str(recipe_file), [f"device={missing}"]))


def test_info_of_a_model_names_its_classes(tmp_path: Path, recipe_file: Path) -> None:
    found = info(tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    assert found["labels"] == list(model.labels.names)
    assert found["parameters"] == sum(parameter.numel() for parameter in model.network.parameters())


def test_what_was_measured_is_told_in_numbers(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(load(str(recipe_file), ["training.steps=2"]))
    assert main(["evaluate", str(run), "--quiet"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^Frechet distance +[\d.]+$", told, re.MULTILINE)
    assert re.search(rf"^results +{re.escape(str(run / 'results.json'))}$", told, re.MULTILINE)
    assert "layer" not in told
    assert main(["diagnose", str(run), "--quiet"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^last 40 % of the steps swapped +Frechet distance [\d.]+, KID ", told, re.MULTILINE)
    assert re.search(r"^error on the target by u, run +[\d.]+(, [\d.]+){9}$", told, re.MULTILINE)


def test_a_run_is_finished_once_its_model_is_written(recipe_file: Path, tmp_path: Path) -> None:
    done = train(load(str(recipe_file), ["training.steps=3"]))
    run = tmp_path / "run"
    shutil.copytree(run, tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed/model")
    assert info(tmp_path / "killed")["state"] == "unfinished"
    shutil.rmtree(run / "checkpoints")
    told = {name: info(run)[name] for name in ("state", "step", "weights_digest")}
    assert told == {"state": "finished", "step": 3, "weights_digest": done["weights_digest"]}


def test_few_images_that_are_none_are_named(recipe_file: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"too few.*a\.png"):
        train(load(str(recipe_file), [f"data.target={junk}"]))


def test_a_flat_folder_with_a_folder_beside_the_pictures_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / "images" / f"{index}.png").write_bytes((tmp_path / "images/dark/0.png").read_bytes() + bytes(index))
    train(load(str(recipe_file), ["training.steps=3"]))  # a few beside many are set aside
    assert "0.png" in (tmp_path / "run/set-aside.txt").read_text()
    for index in range(20):
        (tmp_path / "images" / f"{index}.png").write_bytes((tmp_path / "images/dark/0.png").read_bytes())
    with pytest.raises(DataError, match="beside"):
        train(load(str(recipe_file), ["training.steps=3", f"out={tmp_path / 'other'}"]))


def test_another_recipe_is_refused_before_anything_is_written(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["training.steps=3"]))
    before = contents(tmp_path / "run")
    with pytest.raises(CheckpointError, match="another recipe digest"):
        train(load(str(recipe_file), ["training.steps=3", "optim.lr=0.5"]))
    assert contents(tmp_path / "run") == before


def test_a_model_is_told_by_its_own_recipe_when_its_checkpoints_are_gone(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["training.steps=3"]))
    run = tmp_path / "run"
    shutil.rmtree(run / "checkpoints")
    before = contents(run)
    with pytest.raises(
        CheckpointError, match=r"model of another training.*optim\.lr was 0\.001 and is 0\.5.*another `out`"
    ):
        train(load(str(recipe_file), ["training.steps=3", "optim.lr=0.5"]))
    assert contents(run) == before
    again = train(load(str(recipe_file), ["training.steps=3"]))
    assert contents(run)["end.json"] == before["end.json"], "the same training again ends with the same weights"
    assert again["step"] == 3


def test_a_curve_is_measured_in_one_way(recipe_file: Path, tmp_path: Path) -> None:
    """Else the best step would be the lowest of two measures."""
    recipe = load(str(recipe_file), [])
    prepared = prepare(recipe)
    bank.draw(recipe, prepared.backbone, Silent())
    write_json(tmp_path / "run/recipe.yaml", recipe.model_dump(mode="json"))
    assemble(prepared).trainer.run(until=6)
    before = (tmp_path / "run/recipe.yaml").read_bytes()
    with pytest.raises(CheckpointError, match=r"heldout_draws=8 up to step 6, and with 9 it would be another one"):
        train(load(str(recipe_file), ["evaluation.heldout_draws=9"]))
    assert (tmp_path / "run/recipe.yaml").read_bytes() == before
    train(recipe)
    assert train(load(str(recipe_file), ["evaluation.heldout_draws=9"]))["step"] == recipe.training.steps


def test_a_finished_bank_can_be_shared_where_nothing_can_be_written(recipe_file: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared/bank"
    own = [f"bank_folder={shared}"]
    bank.build(load(str(recipe_file), own))
    before = contents(tmp_path / "shared")
    # Root may write anywhere, and no one can lock a folder.
    (tmp_path / "shared/.bank.lock").unlink(missing_ok=True)
    (tmp_path / "shared/.bank.lock").mkdir()
    assert train(load(str(recipe_file), own))["step"] == 12
    assert {**contents(tmp_path / "shared"), ".bank.lock": ""} == {**before, ".bank.lock": ""}
    for override in ("bank.steps=3", "bank.count=13"):
        with pytest.raises(StorageError, match=r"\.bank\.lock cannot be taken"):
            bank.build(load(str(recipe_file), [*own, override]))
    next(shared.glob("*.safetensors")).unlink()
    with pytest.raises(StorageError, match=r"\.bank\.lock cannot be taken"):
        bank.build(load(str(recipe_file), own))


def test_training_that_diverges_under_an_adaptive_psi_says_so(recipe_file: Path) -> None:
    with pytest.raises(TrainingError, match=r"held-out error after step 4 is not finite.*lower optim\.lr"):
        train(load(str(recipe_file), [*ADAPTIVE, "optim.lr=1e18", "training.log_every=12", "training.save_every=12"]))


def test_classes_that_are_measured_alone_are_trained_by_nothing(recipe_file: Path, tmp_path: Path) -> None:
    for index, name in enumerate(("dark", "third")):
        shutil.copytree(tmp_path / "images" / ("dark", "light")[index], tmp_path / "more" / name)
    also = f"data.also=[{{target: {tmp_path / 'more'}, measure_only: true}}]"
    recipe = load(str(recipe_file), [also, "training.retention_labels=1"])
    prepared = prepare(recipe)
    bank.draw(recipe, prepared.backbone, Silent())
    run = assemble(prepared)
    assert run.target.class_names == ("dark", "light", "third")
    trained = {
        label for step in range(12) for label in run.trainer.streams.batch(step, (0, 0)).condition.labels.tolist()
    }
    assert trained <= {*run.rows[:2].tolist(), run.backbone.labels.null}
    assert trained & {*run.rows[:2].tolist()}


def test_how_often_a_run_tells_and_saves_is_not_its_identity(recipe_file: Path) -> None:
    digest = load(str(recipe_file), []).digest()
    for override in (
        "training.keep=5",
        "training.use_best=true",
        "training.log_every=1",
        "training.save_every=7",
        "bank.count=13",
        "seed=0",
    ):
        assert load(str(recipe_file), [override]).digest() == digest
    for override in ("training.batch_size=8", "optim.lr=0.5", "seed=1", "coefficients.psi.tau=0.5"):
        assert load(str(recipe_file), [override]).digest() != digest


def test_a_run_can_end_with_its_best_average(recipe_file: Path, tmp_path: Path) -> None:
    """At such a learning rate the last step is not the best one."""
    asked = ["training.steps=4", "training.heldout_every=1", "optim.lr=0.2", "ema.decay=0"]
    last = train(load(str(recipe_file), asked))
    run = tmp_path / "run"
    folder = Checkpoints(run / "checkpoints")
    best, newest = folder.best(), folder.last()
    assert best is not None
    assert newest is not None
    assert best != newest
    ema = {path: read(path)[0]["ema"] for path in (best, newest)}
    assert last["weights_digest"] == tensors_digest(ema[newest])
    # A finished run is asked for it afterwards, and trains no step for it.
    again = train(load(str(run / "recipe.yaml"), ["training.use_best=true"]))
    assert again["weights_digest"] == tensors_digest(ema[best])
    saved = dict(load_model(str(run / "model")).network.named_parameters())
    assert all(torch.equal(saved[name], value) for name, value in ema[best].items())
    rows = evaluate(run)["rows"]
    assert {row["step"] for row in rows if row["metric"] == "heldout"} == {int(best.name[-8:])}
    with pytest.raises(ConfigError, match="use_best=true looks at the held-out error"):
        load(str(recipe_file), ["training.use_best=true", "training.heldout_every=0"])


def test_the_best_is_known_without_its_checkpoints_and_asked_for_in_vain_where_nothing_was_measured(
    recipe_file: Path, tmp_path: Path
) -> None:
    asked = ["training.steps=4", "training.heldout_every=1", "optim.lr=0.2", "ema.decay=0", "training.use_best=true"]
    train(load(str(recipe_file), asked))
    run = tmp_path / "run"
    best = Checkpoints(run / "checkpoints").best()
    assert best is not None
    shutil.rmtree(run / "checkpoints")
    assert {row["step"] for row in evaluate(run)["rows"] if row["metric"] == "frechet"} == {int(best.name[-8:])}
    never = [f"out={tmp_path / 'never'}", "training.steps=2"]
    unmeasured = train(load(str(recipe_file), [*never, "training.heldout_every=0"]))
    assert (unmeasured["heldout"], unmeasured["best"]) == (None, None)
    with pytest.raises(ConfigError, match=r"never has measured no held-out error.*set it to null"):
        train(load(str(recipe_file), [*never, "training.heldout_every=1", "training.use_best=true"]))


def test_one_process_trains_in_one_precision_after_another(recipe_file: Path, tmp_path: Path) -> None:
    digests = []
    for number, precision in enumerate(("no", "bf16", "no")):
        overrides = [f"out={tmp_path / str(number)}", "training.steps=2", f"training.precision={precision}"]
        digests.append(train(load(str(recipe_file), overrides))["weights_digest"])
    assert digests[0] == digests[2]
    assert digests[0] != digests[1]
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        train(load(str(recipe_file), [f"out={tmp_path / 'half'}", "training.precision=fp16", "device=cpu"]))


def test_a_run_without_a_bank_needs_no_bank_folder(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["coefficients.psi.tau=0", "training.steps=3", f"bank_folder={tmp_path / 'none'}"]))
    assert evaluate(tmp_path / "run")["rows"]


def test_standard_fine_tuning_beside_a_run_is_the_same_in_all_else(recipe_file: Path) -> None:
    ours = load(str(recipe_file), ["coefficients={weighting: {kind: min-snr}, psi: {kind: adaptive}}"]).coefficients
    assert (ours.plain().weighting, ours.plain().keeps_target) == (ours.weighting, False)


def test_what_cannot_be_written_is_told_before_anything_is_drawn(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"file cannot be made .*choose another --out"):
        sample(tmp_path / "model", tmp_path / "file", count=10**9)


def test_a_held_out_error_that_was_not_finite_is_left_out(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), []))
    log = MetricsLog(tmp_path / "run/metrics.jsonl")
    log.write(11, {"heldout": float("nan")})
    rows = [row for row in evaluate(tmp_path / "run")["rows"] if row["metric"] == "heldout_curve"]
    assert [row["step"] for row in rows] == [0, 4, 8, 12]


def test_larger_images_are_decoded_fewer_at_a_time() -> None:
    assert [at_once(side) for side in (32, 512, 768, 1024, 4096)] == [16, 16, 7, 4, 1]


def test_an_image_hangs_on_seed_and_place_alone_where_the_solver_draws_noise_too() -> None:
    model, condition = tiny_dit(), Condition(torch.arange(8) % 4)
    drawn = []
    for seed, together in ((0, 4), (0, 3), (1, 8)):
        config = SamplingConfig(solver="ddpm", steps=4, seed=seed, batch_size=together)
        drawn.append(draw_images(model, condition, config).int())
        torch.rand(1)
    assert int((drawn[0] - drawn[1]).abs().max()) <= 1, "but for rounding"
    assert bool(((drawn[0] - drawn[2]).abs().amax((1, 2, 3)) > 1).all())
    noise, own = sample_noise(1, range(8), model.sample_shape), generators(1, range(8))
    scheduler = make_scheduler("ddpm", model.scheduler_config)
    latents = solve(denoiser_of(model, config), model.process, scheduler, condition, noise, 4, own)
    assert torch.equal(drawn[2], images_of(model, latents).int())


def test_places_of_a_large_set_stay_in_it() -> None:
    places = spread(20_000_001, 256)
    assert (int(places[0]), int(places[-1])) == (0, 20_000_000)
    assert int(spread(20_000_000, 256).max()) == 19_999_999


def test_samples_are_judged_over_all_classes(recipe_file: Path) -> None:
    recipe = load(str(recipe_file), ["data.heldout=3"])
    target = assemble_target(recipe_file, ["data.heldout=3"])
    judge = Judge(recipe, target)
    for count in (2, 4, 8, 50):
        found = torch.bincount(judge.conditions(torch.arange(2), count)[0:count].labels, minlength=2)
        assert found.tolist() == [count // 2, count // 2]


def test_memorised_is_what_lies_at_the_images_to_train_on(recipe_file: Path) -> None:
    target = assemble_target(recipe_file, ["data.heldout=4"])
    judge = Judge(load(str(recipe_file), ["data.heldout=4"]), target)
    trained, unseen = target.pictures(target.train), target.pictures(target.heldout)
    assert torch.equal(judge.training.features, extract(trained, judge.network))
    assert torch.equal(judge.heldout.features, extract(unseen, judge.network))
    assert judge.distances(trained, Silent())["memorised"] == 1
    assert judge.distances(unseen, Silent())["memorised"] == 1 / len(unseen), (
        "the nearest of few is within their 5 % quantile"
    )


def test_held_out_bank_items_are_in_no_bank(recipe_file: Path) -> None:
    recipe = load(str(recipe_file), [])
    bank.build(recipe)
    run = assemble(prepare(recipe))
    assert isinstance(run.bank, Bank)
    assert run.heldout_bank is not None
    assert run.bank.digest == Bank(recipe.bank_path).digest
    assert run.heldout_bank.digest == Bank(recipe.heldout_bank_path).digest != run.bank.digest
    trained, unseen = (Bank(path).get(torch.arange(12)) for path in (recipe.bank_path, recipe.heldout_bank_path))
    nearest = torch.cdist(unseen.flatten(1), trained.flatten(1)).min()
    assert nearest > 0.1


def test_the_bank_may_be_drawn_without_a_condition(recipe_file: Path, tmp_path: Path) -> None:
    for number, word in enumerate(("null", "'null'")):
        folder = tmp_path / f"bank{number}"
        overrides = [f"bank.labels={word}", "bank.guidance=1", f"bank_folder={folder}"]
        assert bank.build(load(str(recipe_file), overrides)).config.labels == "null"


def test_domain_guidance_draws_other_images_and_trains_the_same(recipe_file: Path, tmp_path: Path) -> None:
    one = train(load(str(recipe_file), ["training.steps=3", "sampling.guidance=3"]))
    own = sample(tmp_path / "run", tmp_path / "own", count=2)
    again = train(load(str(recipe_file), ["training.steps=3", "sampling.guidance=3", "sampling.negative=pretrained"]))
    assert again["weights_digest"] == one["weights_digest"]
    away = sample(tmp_path / "run", tmp_path / "away", count=2)
    assert away["sampling"]["negative"] == "pretrained"
    pictures = [[Path(file).read_bytes() for file in drawn["files"]] for drawn in (own, away)]
    assert pictures[0] != pictures[1]
    evaluate(tmp_path / "run")


def test_a_run_is_drawn_and_judged_between_its_weights_and_the_pretrained_ones(
    recipe_file: Path, tmp_path: Path
) -> None:
    found: dict[float | None, tuple[list[bytes], dict[str, float]]] = {}
    for share in (None, 1.0, 0.0):
        family = "null" if share is None else f"{{kind: constant, value: {share}}}"
        train(load(str(recipe_file), [f"sampling.interpolation={family}", "evaluation.fisher_draws=4"]))
        files = sample(tmp_path / "run", tmp_path / f"drawn-{share}", count=2)["files"]
        rows = {row["metric"]: row["value"] for row in evaluate(tmp_path / "run")["rows"]}
        found[share] = [Path(file).read_bytes() for file in files], rows
    assert found[1.0][0] == found[None][0] != found[0.0][0]
    own, after, before = (found[share][1] for share in (None, 1.0, 0.0))
    assert own["heldout"] == after["heldout"] != before["heldout"]
    assert own["kid"] == after["kid"]
    assert 0 < own["drift_fisher"] < own["drift"]
    # What the training moved and passed through says nothing about other weights.
    assert own.keys() - before.keys() == {
        "drift", "drift_per_parameter", "drift_fisher", "drift_of_layer", "heldout_curve", "heldout_best"
    }  # fmt: skip


def test_a_loss_weight_changes_the_training(recipe_file: Path, tmp_path: Path) -> None:
    digests = []
    for name, weighting in (("plain", "null"), ("p2", "{kind: p2, gamma: 0}"), ("min-snr", "{kind: min-snr}")):
        overrides = [f"out={tmp_path / name}", "training.steps=2", f"coefficients.weighting={weighting}"]
        digests.append(train(load(str(recipe_file), overrides))["weights_digest"])
    assert digests[0] == digests[1]  # (k + SNR)^0 = 1, and this model predicts eps
    assert digests[0] != digests[2]


@pytest.mark.parametrize("anchor", ["{kind: l2-sp, strength: 100}", "{kind: ewc, strength: 1000, draws: 4}"])
def test_an_anchor_keeps_the_weights_near_and_resumes(recipe_file: Path, tmp_path: Path, anchor: str) -> None:
    plain = ["coefficients.psi.tau=0", "training.steps=8", "ema.decay=0"]
    drift = {}
    for name, overrides in (("free", plain), ("held", [*plain, f"anchor={anchor}"])):
        train(load(str(recipe_file), [*overrides, f"out={tmp_path / name}"]))
        rows = evaluate(tmp_path / name)["rows"]
        drift[name] = next(row["value"] for row in rows if row["metric"] == "drift")
    assert drift["held"] < drift["free"]
    held = load(str(recipe_file), [*plain, f"anchor={anchor}", f"out={tmp_path / 'parted'}"])
    if held.anchor is not None and held.anchor.kind == "ewc":
        bank.build(held)
    assemble(prepare(held)).trainer.run(until=4)
    parted = train(held)
    assert (
        parted["weights_digest"]
        == train(load(str(recipe_file), [*plain, f"anchor={anchor}", f"out={tmp_path / 'held'}"]))["weights_digest"]
    )


def test_fisher_information_is_that_of_the_model_without_dropout(recipe_file: Path, tmp_path: Path) -> None:
    overrides = ["tuner={kind: lora, rank: 2, dropout: 0.5}", "anchor={kind: ewc, strength: 1000, draws: 4}"]
    digests = [
        train(load(str(recipe_file), [*overrides, "training.steps=4", f"out={tmp_path / str(run)}"]))["weights_digest"]
        for run in range(2)
    ]
    assert digests[0] == digests[1]


def test_a_teacher_takes_the_place_of_the_bank_and_resumes(recipe_file: Path, tmp_path: Path) -> None:
    taught = ["distillation={weight: 10}", "training.steps=6"]
    whole = train(load(str(recipe_file), [*taught, f"out={tmp_path / 'whole'}"]))
    assert not (tmp_path / "whole/bank").exists()
    parted = load(str(recipe_file), [*taught, f"out={tmp_path / 'parted'}"])
    run = assemble(prepare(parted))
    assert isinstance(run.trainer.objective, Distillation)
    u = torch.linspace(0, 1, 5)
    assert torch.equal(run.trainer.objective.xi(u), 1 - u)
    assert run.trainer.objective.weight == 10
    run.trainer.run(until=4)
    assert train(parted)["weights_digest"] == whole["weights_digest"]
    weaker = train(load(str(recipe_file), [*taught, "distillation.weight=0.1", f"out={tmp_path / 'weaker'}"]))
    assert weaker["weights_digest"] != whole["weights_digest"]


def test_a_large_target_is_compared_with_a_spread_part_of_it(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), ["training.steps=2", "evaluation.references=2"])
    target = open_target(recipe.data, 8, pretrained(recipe).codec)
    whole = target.pictures(target.train)
    assert torch.equal(target.pictures(target.train, 2), whole[[0, -1]])
    assert torch.equal(target.pictures(target.train, len(whole) + 1), whole)
    train(recipe)
    evaluate(tmp_path / "run")
    assert Judge(recipe, target).training.features.shape[0] == 2
    report([tmp_path / "run"], tmp_path / "report.html")
    assert "Nearest training images" in (tmp_path / "report.html").read_text()


def test_the_whole_target_is_psi_of_one_and_what_psi_leaves_as_xi(recipe_file: Path, tmp_path: Path) -> None:
    forms = {
        "short": ["coefficients.whole_target=true", "coefficients.psi={kind: power, tau: 1}"],
        "long": [
            "coefficients.psi={kind: constant, value: 1}",
            "coefficients.xi={kind: power-of-complement, tau: 1}",
        ],
    }
    for name, form in forms.items():
        made = load(str(recipe_file), [*form, f"out={tmp_path / name}", f"bank_folder={tmp_path / 'bank'}"])
        assert method_of(made) == "diff-tuning"
        train(made)
    short, long = (contents(tmp_path / name / "model/transformer") for name in forms)
    assert short == long
    plain = load(str(recipe_file), [*forms["short"], "coefficients.psi.tau=0"])
    assert method_of(plain) == "finetune"
    with pytest.raises(ConfigError, match="leave one of the two out"):
        load(str(recipe_file), ["coefficients.whole_target=true", "coefficients.xi={kind: constant, value: 0.5}"])


def test_a_probe_advises_a_psi_that_a_recipe_takes(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["training.steps=8", "coefficients.psi.tau=0"]))
    told = advise(tmp_path / "run")
    assert "43% of the average" in told["warning"]  # the default decay over eight steps
    advice = told["advice"]
    advised = load(str(recipe_file), [advice, f"out={tmp_path / 'advised'}", "training.steps=2"])
    assert advised.coefficients.psi.kind == "measured"
    train(advised)
    with pytest.raises(ConfigError, match="tau=0"):
        advise(tmp_path / "advised")
