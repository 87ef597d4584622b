"""The public names: pinned, sorted, and loaded only when used."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import difftuning

PINNED = [
    "Bank",
    "Batch",
    "ChainOfForgetting",
    "Condition",
    "DiffTuning",
    "DifftuningError",
    "Draw",
    "Recipe",
    "__version__",
    "diagnose",
    "evaluate",
    "load",
    "load_recipe",
    "report",
    "sample",
    "train",
]


def test_the_names_are_these_and_sorted() -> None:
    assert difftuning.__all__ == PINNED == sorted(PINNED)
    assert set(PINNED) <= set(dir(difftuning))


@pytest.mark.parametrize(("name", "home"), sorted(difftuning._HOMES.items()))
def test_each_name_is_defined_where_the_table_says(name: str, home: str) -> None:
    module, _, own_name = home.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    assert (own_name or name) in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Bnak'"):
        difftuning.Bnak  # noqa: B018


def test_import_alone_loads_nothing_heavy() -> None:
    code = "import difftuning, sys; print([m for m in ('torch', 'pydantic', 'diffusers', 'typer') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
