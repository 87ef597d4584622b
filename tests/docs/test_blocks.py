"""Every command and every piece of code in the readme and the documentation is one that works."""

from __future__ import annotations

import ast
import importlib
import math
import re
import runpy
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
import typer
from accelerate.commands.launch import launch_command_parser
from PIL import Image

import difftuning
from difftuning.cli.commands import app
from difftuning.config.section import Section
from difftuning.errors import ConfigError
from difftuning.tuning.base import Tuner
from difftuning.workflows import phases
from difftuning.workflows.recipe import load
from difftuning.workflows.recipe_keys import keys
from doc_blocks import PAGES, ROOT, commands, python, words
from tiny import save_tiny_dit

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
VERBS = {"difftuning", "make", "python", "pip", "export", "pytest"}
FILES = {
    "recipe.yaml": "own-images",
    "runs/mine/recipe.yaml": "own-images",
    "runs/plain/recipe.yaml": "own-images",
    "stream.yaml": "streams/pacs",
}
"""Recipes and streams that a reader has made by then, and the shipped ones that they were made from."""
HOW_TO = sorted((ROOT / "docs/how-to").glob("*.md"))


def every_command(page: Path) -> list[list[str]]:
    found = [words(line) for line in commands(page) if line.split()[0] in VERBS]
    return [one for one in found if one]


def every_line(page: Path) -> Iterator[list[str]]:
    """What stands behind `difftuning`, or behind `-m difftuning` of a launcher or in a script, in each command of a page."""
    for line in every_command(page):
        if line[0] == "difftuning":
            yield line[1:]
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    yield from map(words, re.findall(r"-m difftuning ([^'`\n]+)", text))


def fenced(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def indented_python(page: Path) -> list[str]:
    """The indented blocks of a page that begin as Python does and no command."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"(?:^(?: {4}.*|[ \t]*)\n)+", text, flags=re.MULTILINE)
    found = [textwrap.dedent(block).strip("\n") + "\n" for block in blocks]
    return [block for block in found if re.match(r"(?:class|def|from|import|with|for) |@", block)]


def read(words: list[str]) -> tuple[list[str], dict[str, object]]:
    """What the command line makes of some words: the path of the command, and its parameters by name.

    Raises:
        click's error where a word or an option is not known.
    """
    command, path = typer.main.get_command(app), []
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
        path.append(command.name or "")
    if path == [] and words in (["--help"], ["--version"]):
        return path, {}
    return path, dict(command.make_context(" ".join(path), [word for word in words if word != "--debug"]).params)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_is_one_that_difftuning_knows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("a cat\n")
    for line in every_line(page):
        given = line[: line.index(">")] if ">" in line else line
        path, parameters = read([word for word in given if word not in ("KEY", "[KEY]")])
        assert path or given == ["--version"], line
        overrides = [str(one) for one in parameters.get("overrides") or ()]  # type: ignore[attr-defined]
        # Both raise where a key or a value is none of a recipe's, or of a stream's.
        if "recipe" in parameters:
            load(_known(str(parameters["recipe"])), ["data.target=./my_images", *overrides])
        if "stream" in parameters:
            changes = [str(one) for one in parameters["change"] or ()]  # type: ignore[attr-defined]
            phases.load(_known(str(parameters["stream"])), overrides, changes)


def _known(name: str) -> str:
    return str(ROOT / name) if (ROOT / name).is_file() else FILES.get(name, name)


def test_every_launch_is_one_that_accelerate_knows() -> None:
    page = ROOT / "docs/how-to/many-gpus.md"
    lines = [words(line) for line in commands(page) if line.startswith("accelerate launch ")]
    assert len(lines) > 4
    for line in lines:
        told = launch_command_parser().parse_args(line[2:])
        assert (told.module, told.training_script) == (True, "difftuning")
        assert told.training_script_args in list(every_line(page))


def test_every_script_of_the_shell_can_be_read(tmp_path: Path) -> None:
    scripts = [script for page in PAGES for script in fenced(page, "bash")]
    assert any("-m difftuning train recipe.yaml" in script for script in scripts)
    for script in scripts:
        (tmp_path / "script").write_text(script)
        subprocess.run(["bash", "-n", str(tmp_path / "script")], check=True)


@pytest.mark.parametrize("page", [page for page in PAGES if fenced(page, "yaml")], ids=str)
def test_every_stream_is_one_of_recipes(page: Path, tmp_path: Path) -> None:
    for text in fenced(page, "yaml"):
        file = tmp_path / "stream.yaml"
        file.write_text(text)
        stream = phases.load(str(file), [])
        assert len(phases.recipes_of(stream)) == len(stream.spans())


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_other_command_names_what_is_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in every_command(page):
        if line[0] == "make":
            assert re.search(rf"^{line[1]}:", makefile, re.MULTILINE), line
        if line[0] == "python":
            assert (ROOT / line[1]).is_file(), line


@pytest.mark.parametrize("page", [page for page in PAGES if python(page) or indented_python(page)], ids=str)
def test_every_piece_of_python_is_whole_and_imports_what_is_there(page: Path) -> None:
    for code in [*python(page), *indented_python(page)]:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "difftuning":
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def test_the_piece_of_the_readme_runs_where_its_example_has_it(tmp_path: Path) -> None:
    (code,) = python(ROOT / "README.md")
    model = difftuning.load(str(save_tiny_dit(tmp_path)))
    images, bank = torch.rand(2, 16, *model.sample_shape) * 2 - 1
    own: dict[str, object] = {"model": model, "steps": 2, "bank_batch": bank, "target_batch": images}
    scope = {**runpy.run_path(str(ROOT / "examples/own_loop.py")), **own, "labels": torch.zeros(16, dtype=torch.int64)}
    exec(code, scope)
    assert math.isfinite(scope["loss"].item())


def test_the_outline_of_a_tuner_is_one() -> None:
    (code,) = indented_python(ROOT / "docs/how-to/new-tuner.md")
    scope: dict[str, Any] = dict(
        Section=Section, Tuner=Tuner, Literal=Literal, ClassVar=ClassVar, contextmanager=contextmanager
    )
    exec(compile(code, "new-tuner.md", "exec", dont_inherit=True), scope)  # annotations as they stand there
    assert scope["MineConfig"]().kind == "mine"
    mine = scope["Mine"]
    assert mine.__abstractmethods__ == frozenset()
    assert all(hasattr(Tuner, name) for name in vars(mine) if not name.startswith("__"))


def test_the_pieces_on_ones_own_loop_run() -> None:
    drawn, whole = python(ROOT / "docs/how-to/own-loop.md")
    scope: dict[str, Any] = {}
    exec(drawn, scope)
    assert scope["from_bank"].shape == (16,)
    scope = {}
    exec(compile(whole, "own-loop.md", "exec", dont_inherit=True), scope)
    assert scope["network"].weight.grad.abs().sum() > 0


def test_keys_that_are_named_in_the_text_exist() -> None:
    recipe = load("own-images", ["data.target=./my_images"]).model_dump(mode="json")
    sections = {key for key, value in recipe.items() if isinstance(value, dict)}
    for page in PAGES:
        for name in re.findall(r"`((?:" + "|".join(sections) + r")\.[a-z_.]+)(?:=[^`]*)?`", page.read_text()):
            if name.endswith((".safetensors", ".json", ".yaml")):
                continue
            assert _is_key(name), f"{page.name} names {name}, which is no key of a recipe"


def _is_key(name: str) -> bool:
    try:
        return bool(keys(name)["keys"])
    except ConfigError:
        return False


WALKS = ("README.md", "docs/quick-start.md", "docs/how-to/own-images.md", "docs/how-to/migration.md")


@pytest.mark.slow
@pytest.mark.parametrize("page", WALKS)
def test_its_commands_take_a_folder_of_images_to_what_they_say(page: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("dog", "cat"):  # stripes and discs
        (tmp_path / "my_images" / name).mkdir(parents=True)
        for index in range(100):
            place = random.integers(0, 24, 2)
            pixels = np.full((32, 32, 3), 255, np.uint8)
            pixels[place[0] : place[0] + 8, (0 if name == "dog" else place[1]) :][:, : 32 if name == "dog" else 8] = (
                random.integers(0, 200, 3)
            )
            Image.fromarray(pixels).save(tmp_path / "my_images" / name / f"{index}.png")
    (tmp_path / "class_images").symlink_to(tmp_path / "my_images/cat")
    (tmp_path / "recipe.yaml").write_text((ROOT / "recipes/own-images.yaml").read_text())
    bank = ["bank.count=32", "bank.steps=4"]
    small = [*bank, "training.steps=20", "training.heldout_every=10", "training.sample_every=10", "sampling.steps=4"]
    small += ["evaluation.samples=32", "evaluation.heldout_draws=8"]
    block = [line for line in every_command(ROOT / page) if line[0] == "difftuning" and line[1] != "demo"]
    block = [line for line in block if not any(word.startswith("paper/") for word in line)]  # weights of gigabytes
    if page == "docs/quick-start.md":
        assert any("bank_folder=runs/mine/bank" in line for line in block)
    for line in block:
        written = tmp_path / line[line.index(">") + 1] if ">" in line else None
        line = line[: line.index(">")] if ">" in line else line
        extra = small if line[1] == "train" else bank if line[1:3] == ["bank", "build"] else []
        done = subprocess.run(
            [sys.executable, "-m", *line, *extra], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        if written is not None:
            written.write_text(done.stdout)
    if page != "docs/how-to/migration.md":
        assert "The chain of forgetting" in (tmp_path / "runs/mine/report.html").read_text()
    if page in ("docs/quick-start.md", "docs/how-to/own-images.md"):
        assert '"heldout_bank"' in (tmp_path / "runs/plain/metrics.jsonl").read_text()
