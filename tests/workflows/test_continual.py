"""A tiny stream on a real model and real files: what each phase is, what is measured, and that nothing of it depends on kills."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difftuning.backbones.loading import load as load_model
from difftuning.bank.card_file import read_card
from difftuning.bank.read import Bank
from difftuning.coefficients.families import AdaptiveConfig, PowerConfig
from difftuning.config.loading import dump_recipe
from difftuning.continual.measures import Matrix
from difftuning.errors import BusyError, CheckpointError, ConfigError, DataError
from difftuning.json_files import read_json, write_json
from difftuning.lock import alone
from difftuning.results import read_rows
from difftuning.studies.base import Cell, Study
from difftuning.workflows.assemble import prepare
from difftuning.workflows.continual import continual, phase_targets
from difftuning.workflows.display import Silent
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.heldout import known_rows, target_heldout
from difftuning.workflows.phases import identity_of, load, recipes_of
from difftuning.workflows.recipes import listing
from difftuning.workflows.retention_condition import bank_rows
from difftuning.workflows.study_queue import Queue
from tiny import save_tiny_dit

CLASSES = {"one": ("dark", "light"), "two": ("dark", "light"), "three": ("light", "mid"), "four": ("dark", "mid")}
"""The third phase brings a class that the others do not have."""
BANK, KEPT = 10, 4


def write_stream(folder: Path) -> Path:
    """A stream of three domains of coloured squares, and the images of a fourth."""
    model, random = save_tiny_dit(folder / "model"), np.random.default_rng(0)
    for shade, (name, classes) in enumerate(CLASSES.items()):
        for label in classes:
            (folder / name / label).mkdir(parents=True)
            base = {"dark": 40, "mid": 120, "light": 200}[label]
            for index in range(5):
                pixels = (base + random.integers(-40, 40, (8, 8, 3))).clip(0, 255).astype(np.uint8)
                pixels[..., shade % 3] //= 2
                Image.fromarray(pixels).save(folder / name / label / f"{index}.png")
    recipe = {
        "model": str(model),
        "data": {"target": str(folder / "one"), "heldout": 0.4},
        "bank": {"count": BANK, "steps": 2, "batch_size": 4, "shard_size": 8},
        "optim": {"lr": 1e-2},
        "training": {"steps": 6, "batch_size": 4, "heldout_every": 3, "save_every": 2},
        "ema": {"decay": 0.5},
        "sampling": {"solver": "ddim", "steps": 2},
        "evaluation": {"samples": 4, "heldout_draws": 4},
        "threads": 1,
    }
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    phases = [{"name": name, "changes": [f"data.target={folder / name}"]} for name in ("one", "two", "three")]
    stream = {"name": "tiny", "out": str(folder / "out"), "recipe": str(folder / "recipe.yaml"), "phases": phases}
    (folder / "stream.yaml").write_text(dump_recipe(stream))
    return folder / "stream.yaml"


@pytest.fixture(scope="module")
def stream_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stream")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFTUNING_CACHE", str(folder / "cache"))
        yield write_stream(folder)


@pytest.fixture(scope="module")
def out(stream_file: Path) -> Path:
    """The folder of the finished stream."""
    return Path(continual(load(str(stream_file), []))["stream"])


def mtimes(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_each_phase_goes_on_from_the_model_before_and_earlier_labels_keep_their_rows(out: Path) -> None:
    models = [load_model(str(out / f"phase-{number}/model")) for number in (1, 2, 3)]
    assert [model.labels.names for model in models] == [("dark", "light")] * 2 + [("dark", "light", "mid")]
    assert read_json(out / "phase-2/phase.json")["model"] == models[0].digest()
    assert read_json(out / "phase-3/phase.json")["model"] == models[1].digest()


def test_the_bank_is_two_fifths_of_the_first_one_and_what_the_current_model_draws(out: Path, stream_file: Path) -> None:
    first, items = Bank(out / "phase-1/bank"), torch.arange(KEPT)
    for number in (2, 3):
        bank, current = Bank(out / f"phase-{number}/bank"), load_model(str(out / f"phase-{number - 1}/model"))
        assert torch.equal(bank.get(items), first.get(items))
        assert not torch.equal(bank.get(items + KEPT), first.get(items + KEPT))
        assert bank.card.origins is not None
        assert [(part.stop, part.bank) for part in bank.card.origins] == [(KEPT, first.digest)]
        assert bank.card.model.digest == current.digest()
        assert set(bank.labels(torch.arange(KEPT, BANK)).tolist()) <= set(range(len(current.labels)))
    assert read_card(out / "phase-1/bank").model.digest == load_model(str(stream_file.parent / "model")).digest()


def test_every_model_is_measured_on_every_phase(out: Path) -> None:
    found = read_json(out / "matrices.json")
    error, distance = (found["matrices"][metric]["values"] for metric in ("heldout", "frechet"))
    assert all(value > 0 for line in error for value in line)
    assert [[value is not None for value in line] for line in distance] == [
        [on <= after for on in (1, 2, 3)] for after in (0, 1, 2, 3)
    ]
    assert error[0] != error[1]
    # What is measured on all phases so far is, after the first, what is measured on the first.
    assert found["cumulative"][0]["heldout"] == error[1][0]
    assert found["cumulative"][0]["frechet"] == distance[1][0]
    matrix = Matrix(("one", "two", "three"), error)
    assert found["matrices"]["heldout"]["mean_forgetting"] == matrix.mean_forgetting()
    assert found["banks"]["one"]["first bank"]["frechet"] == pytest.approx(0, abs=1e-3)
    assert found["banks"]["two"]["first bank"]["frechet"] > 0.01
    assert set(found["banks"]["three"]) == {"first bank", "one", "two", "three"}


def test_distances_can_be_left_out_where_a_phase_is_alone(out: Path, stream_file: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/measured")
    stream = load(str(stream_file), [f"out={tmp_path / 'out'}", "distances=so-far"])
    continual(stream)
    whole, found = (read_json(folder / "matrices.json") for folder in (out, tmp_path / "out"))
    assert set(found["matrices"]) == {"heldout"}
    assert found["matrices"]["heldout"] == whole["matrices"]["heldout"]
    assert (found["cumulative"], found["banks"]) == (whole["cumulative"], whole["banks"])
    assert identity_of(stream) != identity_of(load(str(stream_file), []))


def test_a_phase_is_a_run_like_any_other(out: Path) -> None:
    error = read_json(out / "matrices.json")["matrices"]["heldout"]["values"]
    rows = evaluate(out / "phase-1")["rows"]
    assert [row["value"] for row in rows if row["metric"] == "heldout"] == [error[1][0]]


@pytest.mark.usefixtures("out")
def test_a_phase_that_adapts_is_judged_on_all_phases_so_far(stream_file: Path) -> None:
    stream = load(str(stream_file), [])
    recipe, model = recipes_of(stream)[1], load_model(str(Path(stream.out) / "phase-2/model"))
    target = prepare(recipe).target
    on_all = target_heldout(target.heldout, known_rows(model, target.class_names), model, recipe)
    rows = evaluate(Path(stream.out) / "phase-2")["rows"]
    assert [row["value"] for row in rows if row["metric"] == "heldout"] == [on_all.curve(model).mean]


@pytest.mark.usefixtures("out")
def test_what_adapts_is_measured_on_all_phases_so_far_and_trained_on_its_own(stream_file: Path) -> None:
    recipes = recipes_of(load(str(stream_file), []))
    targets, alone = [prepare(recipe).target for recipe in recipes[:2]], phase_targets(recipes)
    assert targets[1].train.keys == alone[1].train.keys
    assert targets[1].heldout.keys == (*alone[1].heldout.keys, *alone[0].heldout.keys)


def test_rows_and_page_say_what_the_matrices_do(out: Path) -> None:
    found, rows = read_json(out / "matrices.json"), read_rows(out / "results.json")
    plain = {row.metric: row.value for row in rows if not row.setting}
    assert plain["frechet"] == found["cumulative"][-1]["frechet"]
    assert plain["forgetting"] == found["matrices"]["heldout"]["mean_forgetting"]
    entry = {"after": "two", "on": "one"}
    assert [row.value for row in rows if row.metric == "phase_heldout" and row.setting == entry] == [
        found["matrices"]["heldout"]["values"][2][0]
    ]
    assert {row.step for row in rows if row.setting.get("after") == "two"} == {12}
    page = (out / "stream.md").read_text()
    assert f"{found['cumulative'][-1]['kid']:.4g}" in page
    assert "refresh" in page
    assert (out / "stream.svg").read_text().startswith("<?xml")


def test_again_it_trains_and_measures_nothing(out: Path, stream_file: Path) -> None:
    kept = [out / "measured", *(out / f"phase-{number}" for number in (1, 2, 3))]
    before, matrices = mtimes(*kept), (out / "matrices.json").read_bytes()
    continual(load(str(stream_file), []))
    assert mtimes(*kept) == before
    assert (out / "matrices.json").read_bytes() == matrices


def test_a_stream_of_an_earlier_version_goes_on_and_what_has_made_nothing_may_change(
    out: Path, stream_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(out, tmp_path / "out")
    file = tmp_path / "out/phase-2/phase.json"
    begun = read_json(file)
    assert "condition" not in begun["method"]
    write_json(file, {**begun, "method": {"kind": "refresh", "keep": 0.4, "every": 1, "rise": None}})
    shutil.rmtree(tmp_path / "out/phase-3")
    (tmp_path / "out/phase-3").mkdir()
    write_json(tmp_path / "out/phase-3/phase.json", {**begun, "bank": {"count": 99}})
    continual(load(str(stream_file), [f"out={tmp_path / 'out'}"]))
    ends = [read_json(folder / "phase-3/end.json")["weights_digest"] for folder in (out, tmp_path / "out")]
    assert ends[0] == ends[1]


def test_what_decided_a_finished_phase_cannot_change(out: Path, stream_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"phase 1 in .* was begun with another method; use another `out`"):
        continual(load(str(stream_file), ["method.keep=0.5"]))
    with pytest.raises(CheckpointError, match="another recipe"):
        continual(load(str(stream_file), [], ["optim.lr=1"]))


def test_a_stream_goes_on_where_it_and_its_images_have_moved(out: Path, stream_file: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        shutil.copytree(stream_file.parent / name, tmp_path / "images" / name)
    shutil.copytree(out, tmp_path / "moved")
    stream = load(str(stream_file), [f"out={tmp_path / 'moved'}"])
    moved = [
        one.model_copy(update={"changes": (f"data.target={tmp_path / 'images' / one.name}",)}) for one in stream.phases
    ]
    stream = stream.model_copy(update={"phases": tuple(moved)})
    models = [tmp_path / f"moved/phase-{number}/model" for number in (1, 2, 3)]
    before = mtimes(*models)
    continual(stream)
    assert mtimes(*models) == before
    assert (tmp_path / "moved/matrices.json").read_bytes() == (out / "matrices.json").read_bytes()
    assert evaluate(tmp_path / "moved/phase-2")["rows"], "it begins from the model of phase 1, which has moved"
    # An earlier version told the images by their path.
    begun = tmp_path / "moved/phase-1/phase.json"
    recipe = recipes_of(stream)[0].model_copy(update={"model": ""})
    known = {key: value for key, value in read_json(begun).items() if key != "images"}
    write_json(begun, known | {"recipe": recipe.digest()})
    continual(stream)
    write_json(begun, known | {"recipe": recipe.model_copy(update={"seed": 9}).digest()})
    with pytest.raises(CheckpointError, match="another recipe"):
        continual(stream)
    write_json(begun, known | {"recipe": recipe.digest()})
    # Other images in the same place are others.
    image = next((tmp_path / "images/two/dark").iterdir())
    Image.new("RGB", (8, 8), (1, 2, 3)).save(image)
    with pytest.raises(CheckpointError, match=r"phase 2 in .* was begun with another images"):
        continual(stream)


def test_one_process_at_a_time(out: Path, stream_file: Path) -> None:
    with alone(out / ".continual.lock"), pytest.raises(BusyError, match="another process is at work"):
        continual(load(str(stream_file), []))


KILLED = """
import os, random, signal, sys, time, traceback
import torch
from difftuning.studies.base import Cell, Study
from difftuning.workflows.continual import continual
from difftuning.workflows.display import Silent
from difftuning.workflows.phases import load

torch.set_num_threads(1)
stream, folder = sys.argv[1:3]


def run(delay):
    "In a child that is killed `delay` seconds after it began; True when it got to the end before."
    child = os.fork()
    if child == 0:
        try:
            continual(load(stream, [f"out={folder}"]))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return True
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


random, kills = random.Random(0), 0
while not run(random.uniform(0.2, 1.0) * (1 + kills / 3)):
    kills += 1
print(kills)
"""


@pytest.mark.slow
def test_killed_at_random_it_ends_with_the_same_matrices(out: Path, stream_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(stream_file), str(tmp_path / "killed")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE)
    assert int(done.stdout) >= 3
    for name in ("matrices.json", "stream.md", "stream.svg"):
        assert (tmp_path / "killed" / name).read_bytes() == (out / name).read_bytes(), name


def test_a_phase_can_be_added_to_a_finished_stream(out: Path, stream_file: Path) -> None:
    before, kept = read_json(out / "matrices.json"), mtimes(*(out / f"phase-{number}" for number in (1, 2, 3)))
    stream = load(str(stream_file), [])
    fourth = stream.phases[-1].model_copy(
        update={"name": "four", "changes": (f"data.target={stream_file.parent / 'four'}",)}
    )
    found = continual(stream.model_copy(update={"phases": (*stream.phases, fourth)}))
    assert found["phases"] == ["one", "two", "three", "four"]
    assert mtimes(*(out / f"phase-{number}" for number in (1, 2, 3))) == kept
    after = read_json(out / "matrices.json")
    for metric in ("heldout", "kid"):
        old, new = (one["matrices"][metric]["values"] for one in (before, after))
        assert [line[:3] for line in new[:4]] == old
    assert after["cumulative"][:3] == before["cumulative"]


def test_methods_are_recipes(stream_file: Path) -> None:
    made = {
        kind: recipes_of(load(str(stream_file), [f"method.kind={kind}"]))
        for kind in ("sequential", "joint", "replay", "ewc", "l2-sp", "static", "refresh")
    }
    for kind, recipes in made.items():
        adapts = kind in ("static", "refresh")
        assert {recipe.coefficients.psi for recipe in recipes} == {AdaptiveConfig() if adapts else PowerConfig(tau=0)}
        assert [recipe.labels.kind for recipe in recipes] == ["replace", "extend", "extend"]
        also = [[Path(one.target).name for one in recipe.data.also or ()] for recipe in recipes]
        assert also == ([[], ["one"], ["one", "two"]] if adapts or kind in ("joint", "replay") else [[], [], []])
        # What adapts sees the error on earlier phases, and trains on none of their images.
        assert {one.measure_only for recipe in recipes for one in recipe.data.also or ()} <= {adapts or None}
    asked = recipes_of(load(str(stream_file), [], ["coefficients.psi.tau=0.5"]))
    assert {(recipe.coefficients.psi, recipe.coefficients.keeps_target) for recipe in asked} == {
        (PowerConfig(tau=0.5), False)
    }
    assert {recipe.data.also for recipe in asked} == {None}, "a psi that was asked for follows nothing"
    assert {one.per_class for one in made["replay"][2].data.also or ()} == {2}
    few = recipes_of(load(str(stream_file), ["method.kind=replay"], ["data.per_class=1"]))[2]
    assert {one.per_class for one in few.data.also or ()} == {1}, "no image is replayed that was not trained on"
    assert {one.per_class for one in made["joint"][2].data.also or ()} == {None}
    for kind in ("ewc", "l2-sp"):
        assert [recipe.anchor and recipe.anchor.kind for recipe in made[kind]] == [None, kind, kind]
    streams = [load(str(stream_file), [f"method.kind={kind}"]) for kind in made]
    assert len({identity_of(stream) for stream in streams}) == len(streams)
    moved = load(str(stream_file), ["out=elsewhere", "name=other"])
    assert identity_of(moved) == identity_of(load(str(stream_file), []))


def test_what_the_current_model_draws_can_be_replayed_under_its_classes(stream_file: Path, tmp_path: Path) -> None:
    plain = load(str(stream_file), [])
    stream = load(str(stream_file), [f"out={tmp_path / 'drawn'}", "method={kind: refresh, condition: drawn}"])
    assert '"condition"' not in identity_of(plain)
    assert identity_of(stream) != identity_of(plain)
    assert [one.training.retention_condition for one in recipes_of(stream)] == [None, "drawn", "drawn"]
    continual(stream)
    third = recipes_of(stream)[2]
    prepared = prepare(third)
    before, bank = prepared.backbone.labels, Bank(third.bank_path)
    prepared.backbone.change_labels(third.labels, prepared.target.class_names)
    rows = bank_rows(third, bank, before, prepared.backbone)
    assert rows is not None
    assert prepared.backbone.labels.names == ("dark", "light", "mid")
    # The model of phase 2 knows dark, light and none; what is kept of the first bank is under none.
    assert rows[:KEPT].tolist() == [3] * KEPT
    assert rows[KEPT:].tolist() == bank.labels(torch.arange(KEPT, BANK)).tolist()
    assert set(rows[KEPT:].tolist()) == {0, 1}


def test_labels_apart_have_rows_of_their_own(stream_file: Path, tmp_path: Path) -> None:
    overrides = ["labels=apart", "method.kind=joint", f"out={tmp_path / 'apart'}"]
    changes = ["training.steps=1", "training.heldout_every=1"]
    continual(load(str(stream_file), overrides, changes))
    model = load_model(str(tmp_path / "apart/phase-3/model"))
    assert model.labels.names == ("one/dark", "one/light", "two/dark", "two/light", "three/light", "three/mid")


def test_windows_are_spans_of_a_drift(stream_file: Path) -> None:
    changes = [f"data.target={stream_file.parent / 'one'}", "data.drift.hue=90"]
    stream = load(str(stream_file), ["phases=[]", "windows=4"], changes)
    spans = [recipe.data.drift for recipe in recipes_of(stream)]
    assert [(span.start, span.stop, span.hue) for span in spans if span] == [
        (0.0, 0.25, 90), (0.25, 0.5, 90), (0.5, 0.75, 90), (0.75, 1.0, 90)
    ]  # fmt: skip
    assert [phase.name for phase in stream.spans()] == ["window 1", "window 2", "window 3", "window 4"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["to the easier", "to the harder"])
def test_a_trigger_refreshes_the_bank_only_where_the_error_has_risen(
    stream_file: Path, tmp_path: Path, order: tuple[int, int]
) -> None:
    # The pretrained model errs more on the first of the two domains. Whichever comes first, what is learned of it does not help as
    # much on the other.
    for rise, kept in ((0.01, KEPT), (0.9, BANK)):
        out = tmp_path / str(rise)
        stream = load(str(stream_file), [f"method.rise={rise}", f"out={out}"], ["training.steps=60", "optim.lr=3e-3"])
        continual(stream.model_copy(update={"phases": tuple(stream.phases[place] for place in order)}))
        assert read_card(out / "phase-2/bank").copied == kept


def test_kept_labels_go_by_name(stream_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels\.kind=keep would train '\w+' under another name"):
        continual(load(str(stream_file), [], ["labels={kind: keep}"]))


TEACHER = ["distillation={weight: 0.1}", "coefficients.psi.tau=1"]


def test_what_is_wrong_with_a_stream_is_found_at_once(stream_file: Path) -> None:
    cases = {
        r"unknown key 'phase'; did you mean 'phases'": (["phase=1"], []),
        r"has either phases or windows": (["windows=3"], []),
        r"windows.*less than or equal to 1000": (["phases=[]", "windows=1001"], []),
        r"method.kind = 'refrsh' is unknown; did you mean 'refresh'": (["method.kind=refrsh"], []),
        r"unknown key 'optim.lrr'; did you mean 'lr'": ([], ["optim.lrr=1"]),
        r"tunes by vpt-deep, which cannot be folded": ([], ["tuner.kind=vpt-deep"]),
        r"sets data.also": ([], ["data.also=[{target: x}]"]),
        r"sets bank_folder='b'; each phase": ([], ["bank_folder=b"]),
        r"sets `control`; a stream is measured without maps": ([], ["control={kind: edge}"]),
        r"reads no bank .* method.kind=refresh makes one": ([], ["coefficients.psi.tau=0"]),
        r"reads no bank .* method.kind=static makes one": (["method={kind: static}"], TEACHER),
    }
    for message, (overrides, changes) in cases.items():
        with pytest.raises(ConfigError, match=message):
            recipes_of(load(str(stream_file), overrides, changes))
    stream = load(str(stream_file), [])
    second = stream.phases[1].model_copy(update={"changes": ("model=dit-photo-16",)})
    with pytest.raises(ConfigError, match=r"phase 'two' .* sets model='dit-photo-16'"):
        recipes_of(stream.model_copy(update={"phases": (stream.phases[0], second)}))
    for key, change in (("evaluation", "evaluation.samples=9"), ("sampling", "sampling.guidance=3")):
        second = stream.phases[1].model_copy(update={"changes": (*stream.phases[1].changes, change)})
        with pytest.raises(ConfigError, match=rf"phase 'two' .* changes {key}, and all phases are judged alike"):
            recipes_of(stream.model_copy(update={"phases": (stream.phases[0], second)}))
    for kind, fits in (("static", False), ("refresh", True)):
        larger = stream.phases[1].model_copy(update={"changes": (*stream.phases[1].changes, f"bank.count={2 * BANK}")})
        asked = load(str(stream_file), [f"method.kind={kind}"])
        asked = asked.model_copy(update={"phases": (stream.phases[0], larger)})
        if fits:  # two fifths of it are kept
            assert recipes_of(asked)[1].bank.count == 2 * BANK
        else:
            with pytest.raises(ConfigError, match=r"bank.count=20, 20 of which are kept of the 10 items of phase 1"):
                recipes_of(asked)
    with pytest.raises(ConfigError, match="'one' stands twice"):
        load(str(stream_file), [f"phases={[stream.phases[0].model_dump(mode='json')] * 2}"])


def test_a_phase_that_cannot_be_judged_is_refused_before_any_is_trained(stream_file: Path, tmp_path: Path) -> None:
    stream = load(str(stream_file), [f"out={tmp_path / 'out'}"])
    shutil.copytree(stream_file.parent / "three/mid", tmp_path / "few/mid")
    few = (f"data.target={tmp_path / 'few'}", "data.heldout=1")
    third = stream.phases[2].model_copy(update={"changes": few})
    with pytest.raises(DataError, match=r"tiny/three: 1 image of .*few is held out, and distances need 2"):
        continual(stream.model_copy(update={"phases": (*stream.phases[:2], third)}))
    assert not (tmp_path / "out/phase-1").exists()


@pytest.mark.parametrize("name", [one["name"] for one in listing()["recipes"] if one["name"].startswith("streams/")])
def test_the_shipped_streams_are_whole(name: str) -> None:
    recipes = recipes_of(load(name, []))
    assert len(recipes) >= 3
    assert len({recipe.data.model_dump_json() for recipe in recipes}) == len(recipes)


def test_a_study_runs_streams_as_cells_and_each_once(stream_file: Path, tmp_path: Path) -> None:
    cells = tuple(
        Cell(method, ("training.steps=1",), 0, stream=(str(stream_file), f"method.kind={kind}"))
        for method, kind in (("finetune", "sequential"), ("diff-tuning", "static"))
    )
    one = Study(
        "small", "A small study", "", "Nothing.", str(stream_file.parent / "recipe.yaml"), cells, metrics=("kid",)
    )
    queue = Queue(tmp_path, Silent())
    queue.study(one, tmp_path / "results", tmp_path / "pages")
    rows = read_rows(tmp_path / "results/small.json")
    found = {row.method: row for row in rows if row.metric == "frechet" and not row.setting}
    assert found.keys() == {"finetune", "diff-tuning"}
    assert {row.target for row in rows} == {"tiny"}
    assert f"{next(row.value for row in rows if row.metric == 'kid'):.4g}" in (tmp_path / "pages/small.md").read_text()
    assert not list(tmp_path.glob("streams/*/phase-*/checkpoints"))
    before = mtimes(tmp_path / "streams")
    queue.study(one, tmp_path / "results", tmp_path / "pages")
    assert mtimes(tmp_path / "streams") == before
    shutil.rmtree(tmp_path / "streams")
    queue.study(one, tmp_path / "results", tmp_path / "pages")
    assert read_rows(tmp_path / "results/small.json") == rows
    assert not (tmp_path / "streams").exists()


def test_the_stream_of_the_documentation_is_whole(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/continual.md").read_text()
    (tmp_path / "stream.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    recipes = recipes_of(load(str(tmp_path / "stream.yaml"), []))
    spans = [(recipe.data.drift.start, recipe.data.drift.stop) for recipe in recipes if recipe.data.drift]
    assert spans == [(0, 0.33), (0.33, 0.67), (0.67, 1)]
    assert {recipe.data.drift.hue for recipe in recipes if recipe.data.drift} == {120}
