"""The real command line in processes of its own: exit codes, one-line errors, pure JSON, and how fast help is."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from difftuning.cli.commands import app
from difftuning.cli.main import guarded, main
from difftuning.errors import BankError
from difftuning.json_files import write_json
from difftuning.run_folder import RunFolder

HELP_SECONDS = 0.5


def difftuning(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # A wide, colourless terminal, so that messages are not wrapped.
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "difftuning", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False, timeout=120)


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr), done.stderr
    assert done.stderr.startswith("error: ")


def test_help_names_every_verb_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from difftuning.cli.main import main; code = main(['--help']);"
        "heavy = [m for m in ('torch', 'diffusers', 'datasets', 'matplotlib', 'numpy') if m in sys.modules];"
        "print(heavy, file=sys.stderr);"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    verbs = "demo bank train continual sample evaluate diagnose report info data recipes doctor convert".split()
    assert all(re.search(rf"\b{verb}\b", done.stdout) for verb in verbs)
    assert difftuning().stdout == difftuning("--help").stdout


def test_help_answers_in_under_half_a_second() -> None:
    # Processor time is the wall time of an idle machine; other load only adds to it, so the least is the measure.
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert difftuning("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < HELP_SECONDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], r"No such command 'trian'. Did you mean 'train'.*see `difftuning --help`"),
        (["bank"], r"Missing command.*see `difftuning bank --help`"),
        (["train"], r"Missing argument 'RECIPE'"),
        (["info", "x", "--jsn"], r"No such option: --jsn.*--json"),
        (["sample", "x", "--count", "0"], r"'--count'"),
        (
            ["recipes", "show", "nothing-like-it"],
            r"there is no recipe 'nothing-like-it', neither as a file nor by name",
        ),
        (["info", "no-such-run"], r"there is no run folder no-such-run"),
        (["convert", "no-such-file", "out"], r"there is no file no-such-file"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    assert_one_line(difftuning(*arguments), 2, message)


def test_debug_anywhere_shows_the_traceback() -> None:
    for arguments in (["--debug", "recipes", "show", "nothing"], ["recipes", "show", "nothing", "--debug"]):
        done = difftuning(*arguments)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: there is no recipe 'nothing'")


def _raises(error: BaseException) -> Callable[[], object]:
    def command() -> object:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BankError("the bank\n is torn"), 2, "error: the bank is torn"),
        (ValueError("odd"), 1, "error: unexpected ValueError: odd (run again with --debug to see where)"),
        (AssertionError(), 1, "error: unexpected AssertionError (run again with --debug to see where)"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again and it goes on from what is finished"),
    ],
)
def test_what_is_raised_becomes_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert guarded(_raises(error), debug=False) == code
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(("option", "value"), [("--count", "0"), ("--guidance", "-1"), ("--count", "many")])
def test_a_wrong_option_is_named_with_its_value(option: str, value: str) -> None:
    done = difftuning("sample", "runs/none", option, value)
    assert done.returncode == 2
    assert f"'{option}'" in done.stderr
    assert f"not '{value}'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_version_is_that_of_the_package() -> None:
    assert difftuning("--version").stdout.strip() == version("difftuning")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "run").make()
    folder.recipe.write_text("model: dit-icons-32\ndata: {target: images}\ntraining: {steps: 40}\n")
    step = folder.checkpoints / "step-00000020"
    step.mkdir(parents=True)
    write_json(
        step / "state.json",
        {"step": 20, "weights_digest": "w", "bank_digest": "b", "recipe_digest": "r", "best_step": 20},
    )
    folder.metrics.write_text('{"step": 10, "loss": 1}\n{"step": 2')
    return folder.path


def test_a_model_of_many_classes_is_told_in_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "dit-icons-32"]) == 0
    (labels,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("labels"))
    assert labels.endswith(" and 1,816 more (all of them with --json)")
    assert labels.count(",") == 20


def test_info_as_json_is_one_object_and_changes_nothing(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = difftuning("info", str(run), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = {"state": "unfinished", "step": 20, "steps": 40, "best_step": 20, "metrics": 1, "torn": 1, "rows": 0}
    assert expected.items() <= found.items()
    assert (found["weights_digest"], found["bank_digest"], found["recipe_digest"]) == ("w", "b", "r")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_info_for_a_person_is_a_line_an_entry(run: Path) -> None:
    lines = difftuning("info", str(run)).stdout.splitlines()
    assert re.fullmatch(r"state +unfinished", lines[1])


@pytest.mark.parametrize("model", ["dit-icons-32", "flow-icons-32", "edm-icons-32"])
def test_every_kind_of_model_is_drawn_from_without_a_run(model: str, tmp_path: Path) -> None:
    done = difftuning("sample", model, "--count", "1", "--steps", "2", "--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert Path(file).is_file()


def test_doctor_as_json_says_what_it_checked() -> None:
    done = difftuning("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 1)
    assert {check["name"] for check in found["checks"]} >= {"device", "memory", "disk", "weights"}
    assert all(check["mend"] for check in found["checks"] if check["state"] != "ok")


def test_every_shipped_recipe_is_listed_and_shown() -> None:
    listed = difftuning("recipes", "list", "--json")
    for one in json.loads(listed.stdout)["recipes"]:
        shown = json.loads(difftuning("recipes", "show", one["name"], "--json").stdout)
        assert shown["recipe"]
        assert one["about"]


def test_known_targets_are_listed_and_shown(tmp_path: Path) -> None:
    (tmp_path / "data/food-101/images/soup").mkdir(parents=True)
    found = json.loads(difftuning("data", "list", "--json", cwd=tmp_path).stdout)["targets"]
    there = {one["name"]: one["there"] for one in found}
    assert (there["food101"], there["sun397"], there["openmoji"]) == (True, False, True)
    shown = difftuning("data", "show", "food101", cwd=tmp_path).stdout
    assert re.search(r"^images +101000$", shown, re.MULTILINE)
    assert re.search(r"^path +data/food-101/images$", shown, re.MULTILINE)
    assert_one_line(difftuning("data", "show", "food11"), 2, "no target 'food11'; did you mean 'food101'")


def test_a_recipe_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    assert_one_line(difftuning("train", str(tmp_path / "gone.yaml")), 2, r"there is no recipe.*gone\.yaml")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("optim:\n  lrr: 1e-4\n")
    assert_one_line(
        difftuning("train", str(recipe), "--dry-run"), 2, r"optim\.lrr = 0\.0001: unknown key 'lrr'; did you mean 'lr'"
    )
    recipe.write_text("seed: 0\n")
    done = difftuning("train", str(recipe), "optm.lr=1", "--dry-run")
    assert_one_line(done, 2, r"override 'optm\.lr=1': unknown key 'optm'; did you mean 'optim'")


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The command, and where it is a group all that is below it."""
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(one, (*path, name))


def test_every_help_fits_a_screen_and_has_an_example_that_can_be_parsed() -> None:
    root = typer.main.get_command(app)
    found = dict(_commands(root))
    assert {(), ("train",), ("bank",), ("bank", "build"), ("recipes", "diff")} <= set(found)
    for path, command in found.items():
        done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
        assert done.exit_code == 0
        name = " ".join(("difftuning", *path))
        assert len(done.output.splitlines()) <= 40, f"the help of {name} is longer than a screen"
        assert command.epilog, f"the help of {name} has no example"
        assert command.epilog in " ".join(done.output.split())
        words = shlex.split(command.epilog.removeprefix("Example: difftuning ").partition(" > ")[0])
        assert tuple(words[: len(path)]) == path
        words = words[len(path) :]
        while hasattr(command, "commands"):  # the example of a group is one of a command in it
            command, words = command.commands[words[0]], words[1:]
        # Raises where a word or an option is none of the command's.
        command.make_context(name, words)


def test_shells_are_told_the_rest_of_a_word() -> None:
    environment = {
        **os.environ,
        "_DIFFTUNING_COMPLETE": "complete_bash",
        "COMP_WORDS": "difftuning rec",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "difftuning"], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert done.stdout.split() == ["recipes"]


def test_the_difference_of_two_recipes(tmp_path: Path) -> None:
    done = difftuning("recipes", "diff", "demo", "own-images", "--json")
    found = {one["key"]: (one["one"], one["other"]) for one in json.loads(done.stdout)["differences"]}
    assert found["coefficients.psi.tau"] == (0.3, None)
    assert found["coefficients.psi.kind"] == ("power", "adaptive")
    assert "model" not in found
    same = difftuning("recipes", "diff", "demo", "demo")
    assert same.stdout == "demo and demo are the same recipe\n"
