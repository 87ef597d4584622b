"""A study is run cell by cell on a real model and real files, each cell once, whatever interrupts it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difftuning.config.loading import load_recipe
from difftuning.errors import BusyError, ConfigError, DifftuningError
from difftuning.json_files import write_json
from difftuning.lock import alone
from difftuning.results import Row, read_rows
from difftuning.studies import KINDS
from difftuning.studies.base import Cell, Study
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.display import Silent
from difftuning.workflows.runs import open_run
from difftuning.workflows.study import study
from difftuning.workflows.study_queue import Queue

TAUS = (0, 0.5, 1, 1.5)


def small(recipe_file: Path, seeds: int = 1, steps: int = 3) -> Study:
    cells = tuple(
        Cell(
            "finetune" if tau == 0 else "diff-tuning" if tau == 1 else f"tau = {tau}",
            (f"coefficients.psi.tau={tau}", f"training.steps={steps}"),
            seed,
        )
        for seed in range(seeds)
        for tau in TAUS
    )
    return Study("small", "A small study", "Fig. 0", "Nothing.", str(recipe_file), cells, metrics=("heldout", "kid"))


def run(one: Study, out: Path) -> list[Row]:
    Queue(out, Silent()).study(one, out / "results", out / "pages")
    return read_rows(out / "results/small.json")


def test_rows_and_page_of_a_study(recipe_file: Path, tmp_path: Path) -> None:
    rows = run(small(recipe_file), tmp_path / "out")
    assert {row.method for row in rows} == {"finetune", "tau = 0.5", "diff-tuning", "tau = 1.5"}
    assert {row.study for row in rows} == {"small"}
    page = (tmp_path / "out/pages/small.md").read_text()
    assert "4 of 4 runs" in page
    held_out = [row.value for row in rows if row.metric == "heldout" and row.method == "tau = 1.5"]
    assert len(held_out) == 1
    assert f"{held_out[0]:.4g}" in page


def test_a_finished_cell_is_not_run_again_and_studies_share_it(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file)
    first = run(one, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()}
    other = Study("small", "Another", "", "", one.recipe, one.cells[:2], metrics=("heldout",))
    assert run(other, out) == [row for row in first if row.method in ("finetune", "tau = 0.5")]
    assert before == {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()}


def test_rows_do_for_runs_that_are_gone(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file)
    first = run(one, out)
    shutil.rmtree(out / "cells")
    assert run(one, out) == first
    assert not (out / "cells").exists()
    another = replace(one.cells[0], overrides=("coefficients.psi.tau=2", "training.steps=3"), method="tau = 2")
    longer = run(replace(one, cells=(another, *one.cells)), out)
    assert longer[-len(first) :] == first
    assert {row.method for row in longer[: -len(first)]} == {"tau = 2"}
    assert len(list((out / "cells").iterdir())) == 1


def test_rows_of_cells_that_are_no_more_are_put_aside(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file)
    first = run(one, out)
    shorter = run(replace(one, cells=one.cells[:2]), out)
    assert first[: len(shorter)] == shorter
    assert read_rows(out / "results/small.others.json") == first[len(shorter) :]
    before = (out / "results/small.json").read_bytes()
    assert run(replace(one, cells=one.cells[:2]), out) == shorter
    assert (out / "results/small.json").read_bytes() == before
    assert len(read_rows(out / "results/small.others.json")) == len(first) - len(shorter)


def test_the_first_seeds_alone_and_then_the_others(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file, seeds=2)
    Queue(out, Silent()).study(one, out / "results", out / "pages", seeds=1)
    first = read_rows(out / "results/small.json")
    assert {row.seed for row in first} == {0}
    assert "4 of 8 runs" in (out / "pages/small.md").read_text()
    assert run(one, out)[: len(first)] == first
    assert len(list((out / "cells").iterdir())) == 8


def test_rows_of_another_study_do_under_the_names_of_this_one(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file)
    cell = replace(one.cells[1], setting={"scale": 1.5})
    name = {"name": "guidance"}
    Queue(out, Silent()).study(replace(one, cells=(cell,), **name), out / "results", out / "pages")
    theirs = read_rows(out / "results/guidance.json")
    assert {row.setting["scale"] for row in theirs} == {1.5}
    shutil.rmtree(out / "cells")
    ours = run(replace(one, cells=(replace(cell, method="other", setting={"tau": 0.5}),)), out)
    assert not (out / "cells").exists()
    assert [row.value for row in ours] == [row.value for row in theirs]
    assert {row.method for row in ours} == {"other"}
    assert all(row.setting["tau"] == 0.5 and "scale" not in row.setting for row in ours)
    # A file that holds a part of a cell's rows is not preferred to one that holds all.
    write_json(out / "results/targets.json", {"rows": [theirs[0].model_dump(mode="json")]})
    assert run(replace(one, cells=(replace(cell, method="other", setting={"tau": 0.5}),)), out) == ours


def test_the_smallest_form_is_kept_apart_from_the_whole(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"results.quick has no rows of targets"):
        study("targets", tmp_path, quick=True, only_pages=True)
    assert not (tmp_path / "pages").exists(), "a page of all claims without a number takes no other's place"
    (tmp_path / "results/quick").mkdir(parents=True)
    shutil.copy(Path(__file__).parents[2] / "benchmarks/results/targets.json", tmp_path / "results/quick")
    found = study("targets", tmp_path, quick=True, only_pages=True)
    assert found["index"] == tmp_path / "pages/quick/index.md"


def test_another_way_to_sample_judges_again_and_trains_no_more(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file)
    cell = one.cells[2]
    ways = tuple(Cell(cell.method, (*cell.overrides, f"sampling.steps={n}"), 0, {"steps": n}) for n in (2, 3))
    rows = run(Study("small", "", "", "", one.recipe, ways, down="steps", metrics=("kid",)), out)
    assert len(list((out / "cells").iterdir())) == 1
    by_steps = {row.setting["steps"]: row.value for row in rows if row.metric == "kid"}
    assert by_steps[2] != by_steps[3]
    drift = {row.value for row in rows if row.metric == "drift"}
    assert len(drift) == 1


def test_the_swap_curve_becomes_rows(recipe_file: Path, tmp_path: Path) -> None:
    one = small(recipe_file)
    swapped = Study("small", "", "", "", one.recipe, one.cells[2:3], down="share", metrics=("swap_kid",), swap=True)
    rows = [row for row in run(swapped, tmp_path / "out") if row.metric == "swap_kid"]
    assert [row.setting["share"] for row in rows] == sorted(row.setting["share"] for row in rows)
    assert len(rows) > 2


def test_a_page_shows_what_its_runs_draw_below_held_out_images(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file, seeds=2)
    one = replace(one, cells=one.cells[::2], pictures="In a column the same noise.")
    rows = run(one, out)
    page = (out / "pages/small.md").read_text()
    first = dict.fromkeys(row.cell for row in rows if row.seed == 0)
    names = [f"small-{cell}{line}.png" for cell in first for line in ("", "-held-out-images")]
    assert sorted(path.name for path in (out / "pages").glob("*.png")) == sorted(names), "of the first seed alone"
    # A line a method, below that of the first one's held-out images.
    assert [name for name in names if f"]({name}) |" in page] == names[:3]
    target = open_run(next((out / "cells").iterdir())).target
    heldout = target.pictures(target.heldout)
    assert len(heldout) == 2
    with Image.open(out / "pages" / names[1]) as shown:
        pixels = np.asarray(shown.convert("RGB"))
    # Twelve of 8x8 pixels, eight times as large, four apart; the eight samples in turn, the first four of the first class.
    assert pixels.shape == (64, 12 * 64 + 11 * 4, 3)
    for column in range(12):
        found = pixels[::8, 68 * column : 68 * column + 64 : 8]
        assert (found == heldout[column % 8 // 4].permute(1, 2, 0).numpy()).all()
    # From the rows alone the pictures stay.
    shutil.rmtree(out / "cells")
    run(one, out)
    assert (out / "pages/small.md").read_text() == page


def test_a_page_of_swaps_shows_the_strip_of_its_own_way_to_sample(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file)
    one = replace(one, cells=one.cells[2:3], down="share", metrics=("swap_kid",), swap=True, pictures="Strips.")
    (cell,) = {row.cell for row in run(one, out)}
    strip = out / f"pages/small-{cell}.png"
    assert f"]({strip.name}) |" in (out / "pages/small.md").read_text()
    before = strip.read_bytes()
    # The same run, diagnosed in another way meanwhile.
    diagnose(next((out / "cells").iterdir()), samples=4, shares=(0, 1))
    strip.unlink()
    run(one, out)
    assert strip.read_bytes() == before


def test_pictures_are_of_single_runs_without_settings() -> None:
    with pytest.raises(ValueError, match="'guidance' shows pictures"):
        replace(KINDS["guidance"], pictures="Lines.")


def test_advised_cells_take_the_coefficient_of_their_probe_which_is_a_cell_too(
    recipe_file: Path, tmp_path: Path
) -> None:
    out, one = tmp_path / "out", small(recipe_file, steps=8)
    plain = one.cells[0]
    beside = (*plain.overrides, "coefficients.whole_target=true")
    advised = (
        replace(plain, method="measured", advised=True),
        replace(plain, method="beside", advised=True, overrides=beside),
        replace(plain, method="short", advised=True, probe=("training.steps=4",)),
    )
    rows = run(replace(one, cells=(*advised, plain)), out)
    assert {row.method for row in rows if row.metric == "heldout"} == {"measured", "beside", "short", "finetune"}
    recipes = [load_recipe(path) for path in (out / "cells").glob("*/recipe.yaml")]
    found = sorted(
        (one["training"]["steps"], one["coefficients"]["psi"]["kind"], bool(one["coefficients"].get("whole_target")))
        for one in recipes
    )
    of_all = [(8, "measured", False), (8, "measured", False), (8, "measured", True), (8, "power", False)]
    assert found == [(4, "power", False), *of_all]


def test_an_unknown_study_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no study 'target'; did you mean 'targets'"):
        study("target", tmp_path)


def test_pages_are_written_again_from_the_rows_alone(tmp_path: Path) -> None:
    row = Row(study="targets", target="noto", method="finetune", seed=0, step=1, metric="heldout", value=0.25)
    (tmp_path / "rows").mkdir()
    write_json(tmp_path / "rows/targets.json", {"finished": 1, "rows": [row.model_dump(mode="json")]})
    found = study("all", tmp_path / "out", tmp_path / "rows", tmp_path / "pages", only_pages=True)
    assert [one["name"] for one in found["studies"]] == ["targets"]
    assert "| noto | 0.25 |" in (tmp_path / "pages/targets.md").read_text()
    assert "1 of" in (tmp_path / "pages/index.md").read_text()
    assert not (tmp_path / "out").exists()


def command_of(recipe_file: Path, out: Path, seeds: int) -> tuple[list[str], dict[str, str]]:
    """The command of a process of its own that runs the small study, and its environment."""
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from workflows.test_study import run, small\n"
        f"run(small(Path(sys.argv[2]), seeds={seeds}), Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(recipe_file), str(out)]
    return command, os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def test_two_processes_share_the_cells(recipe_file: Path, tmp_path: Path) -> None:
    alone = run(small(recipe_file, seeds=2), tmp_path / "alone")
    out = tmp_path / "shared"
    command, environment = command_of(recipe_file, out, seeds=2)
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) for _ in range(2)]
    said = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert read_rows(out / "results/small.json") == alone
    assert len(list((out / "cells").iterdir())) == 8


def test_a_cell_in_other_hands_comes_last(recipe_file: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "out", small(recipe_file)
    queue = Queue(out, Silent())
    held = queue.recipe(one, one.cells[0]).folder
    with alone(out / "locks" / f"{held.name}.lock"):
        with pytest.raises(BusyError, match="another process is at work"):
            queue.cell(one, one.cells[0], "", wait=False)
        assert not held.exists()
        _, first = next(queue._each(one, ["a", "b", "c", "d"], [0, 1, 2, 3]))
        assert {row.cell for row in first} == {"b"}
    assert [index for index, _ in queue._each(one, ["a", "b", "c", "d"], [0, 1, 2, 3])] == [0, 1, 2, 3]


def test_what_cannot_be_run_does_not_keep_back_the_rest(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small(recipe_file)
    gone, modelless = (
        replace(whole.cells[0], overrides=(f"{key}=./gone", *whole.cells[0].overrides))
        for key in ("data.target", "model")
    )
    studies = {
        "broken": replace(whole, name="broken", cells=(modelless,)),
        "small": replace(whole, cells=(gone, *whole.cells[1:])),
    }
    monkeypatch.setattr("difftuning.workflows.study.KINDS", studies)
    for name, message in (
        ("small", "1 of .* all else is done; small, finetune, seed 0, .*./gone"),
        ("all", "2 of .*broken"),
    ):
        with pytest.raises(DifftuningError, match=message):
            study(name, tmp_path / "out")
    assert {row.method for row in read_rows(tmp_path / "out/results/small.json")} == {
        "tau = 0.5",
        "diff-tuning",
        "tau = 1.5",
    }
    assert "3 of 4 runs" in (tmp_path / "out/pages/small.md").read_text()


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_table(recipe_file: Path, tmp_path: Path) -> None:
    whole = run(small(recipe_file, seeds=10), tmp_path / "whole")
    out = tmp_path / "killed"
    command, environment = command_of(recipe_file, out, seeds=10)
    delays = random.Random(0)
    for kill in range(10):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
        # Three more of the forty cells begun, then a moment of chance: in a training, a judging or a write.
        while len(list(out.glob("cells/*"))) < 3 * (kill + 1):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(delays.uniform(0, 1))
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, env=environment)
    assert read_rows(out / "results/small.json") == whole
    pages = [(where / "pages/small.md").read_text() for where in (tmp_path / "whole", out)]
    assert pages[0] == pages[1]
