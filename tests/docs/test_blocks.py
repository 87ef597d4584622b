"""Every command and every piece of code in the readme and the documentation is one that works."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from difftuning.cli.commands import app
from difftuning.errors import ConfigError
from difftuning.workflows.recipe import keys, load
from doc_blocks import PAGES, ROOT, commands, python, words

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
VERBS = {"difftuning", "make", "python", "pip", "export", "pytest"}
FILES = {"recipe.yaml": "own-images", "runs/mine/recipe.yaml": "own-images", "runs/plain/recipe.yaml": "own-images"}
"""Recipes that a reader has made by then, and the shipped ones that they were made from."""


def every_command(page: Path) -> list[list[str]]:
    found = [words(line) for line in commands(page) if line.split()[0] in VERBS]
    return [one for one in found if one]


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
    for line in every_command(page):
        if line[0] != "difftuning":
            continue
        given = line[1 : line.index(">")] if ">" in line else line[1:]
        path, parameters = read([word for word in given if word not in ("KEY", "[KEY]")])
        if "recipe" in parameters and parameters.get("overrides") is not None:
            recipe = str(parameters["recipe"])
            overrides = [str(one) for one in parameters["overrides"]]  # type: ignore[attr-defined]
            # Raises where a key or a value is none of a recipe's.
            known = str(ROOT / recipe) if (ROOT / recipe).is_file() else FILES.get(recipe, recipe)
            load(known, ["data.target=./my_images", *overrides])
        assert path or given == ["--version"], line


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_other_command_names_what_is_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in every_command(page):
        if line[0] == "make":
            assert re.search(rf"^{line[1]}:", makefile, re.MULTILINE), line
        if line[0] == "python":
            assert (ROOT / line[1]).is_file(), line


@pytest.mark.parametrize("page", [page for page in PAGES if python(page)], ids=str)
def test_every_piece_of_python_is_whole_and_imports_what_is_there(page: Path) -> None:
    for code in python(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "difftuning":
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def test_the_piece_on_ones_own_loop_runs() -> None:
    (code,) = python(ROOT / "docs/how-to/own-loop.md")
    scope: dict[str, object] = {}
    exec(code, scope)
    assert scope["from_bank"].shape == (16,)  # type: ignore[attr-defined]


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


@pytest.mark.slow
def test_the_readme_takes_a_folder_of_images_to_its_report(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("stripes", "discs"):
        (tmp_path / "my_images" / name).mkdir(parents=True)
        for index in range(100):
            place = random.integers(0, 24, 2)
            pixels = np.full((32, 32, 3), 255, np.uint8)
            pixels[place[0] : place[0] + 8, (0 if name == "stripes" else place[1]) :][
                :, : 32 if name == "stripes" else 8
            ] = random.integers(0, 200, 3)
            Image.fromarray(pixels).save(tmp_path / "my_images" / name / f"{index}.png")
    small = ["training.steps=20", "training.heldout_every=10", "bank.count=32", "bank.steps=4", "sampling.steps=4"]
    small += ["evaluation.samples=32", "evaluation.heldout_draws=8", "training.sample_every=10"]
    block = [line for line in every_command(ROOT / "README.md") if line[0] == "difftuning" and line[1] != "demo"]
    assert block[0][-1] == "--report"
    block = [line for line in block if not any(word.startswith("paper/") for word in line)]  # weights of gigabytes
    for line in block:
        written = tmp_path / line[line.index(">") + 1] if ">" in line else None
        line = line[: line.index(">")] if ">" in line else line
        extra = small if line[1] == "train" else []
        done = subprocess.run(
            [sys.executable, "-m", *line, *extra], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        if written is not None:
            written.write_text(done.stdout)
    assert "The chain of forgetting" in (tmp_path / "runs/mine/report.html").read_text()
