"""Every public name stands on the page of the Python reference and says what a reader needs: each argument, and what is raised."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

import difftuning
from doc_blocks import ROOT

PAGE = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
NAMES = [name for name in difftuning.__all__ if name != "__version__"]
TENSORS = {"Batch", "Draw", "Condition", "Bank"}
"""What holds tensors, whose shapes have to be told."""


def public_functions(thing: Any) -> list[Any]:
    """The thing itself where it is a function, else its public methods that are its own."""
    if inspect.isfunction(thing):
        return [thing]
    return [one for name, one in vars(thing).items() if inspect.isfunction(one) and not name.startswith("_")]


def test_the_page_has_every_public_name() -> None:
    assert [name for name in NAMES if f"::: difftuning.{name}\n" not in PAGE] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_what_each_argument_is(name: str) -> None:
    thing = getattr(difftuning, name)
    told = inspect.getdoc(thing) or ""
    assert len(told) > 20
    if name in TENSORS:
        methods = " ".join(inspect.getdoc(one) or "" for one in public_functions(thing))
        assert re.search(r"\([A-Za-z][, \w]*,?\) \w", told + methods), f"{name} holds tensors and tells no shape"
    if dataclasses.is_dataclass(thing) and "Attributes:" in told:
        fields = [field.name for field in dataclasses.fields(thing)]
        assert [field for field in fields if not re.search(rf"^\s*{field}:", told, re.MULTILINE)] == []
    for function in public_functions(thing):
        said = inspect.getdoc(function) or ""
        assert said, f"{name}.{function.__name__} says nothing"
        arguments = [one for one in inspect.signature(function).parameters if one not in ("self", "cls")]
        if "Args:" in said:
            assert [one for one in arguments if f"{one}:" not in said] == []


RAISED = re.compile(r"^\s+raise (?!ValueError)(\w*Error)\b", re.MULTILINE)
"""pydantic turns a ValueError of a recipe into its own error, which we turn into a ConfigError."""
SOURCES = {"ChainOfForgetting": "Eq. 3 to Eq. 5", "DiffTuning": "Eq. 5", "Draw": "Eq. 5"}
"""What is a formula of the paper, and where it stands there."""


@pytest.mark.parametrize("name", [*NAMES, "load", "train"])
def test_what_it_raises_is_told_by_name(name: str) -> None:
    """By it or by what it calls first: `load` and `train` raise nothing themselves."""
    thing = getattr(difftuning, name)
    own = [one for one in (thing, getattr(thing, "__post_init__", None)) if one is not None]
    raised = {error for one in own for error in RAISED.findall(inspect.getsource(one))}
    told = " ".join(
        inspect.getdoc(one) or "" for one in (thing, *public_functions(thing), getattr(thing, "__init__", thing))
    )
    assert [error for error in raised if error not in told] == []
    if name in ("Bank", "load", "load_recipe", "train", "evaluate", "diagnose", "report", "sample"):
        assert "Raises:" in told


@pytest.mark.parametrize("name", SOURCES)
def test_a_formula_names_its_place_in_the_paper(name: str) -> None:
    thing = getattr(difftuning, name)
    told = " ".join(inspect.getdoc(one) or "" for one in (thing, inspect.getmodule(thing), *public_functions(thing)))
    assert SOURCES[name] in told, told


def test_what_is_measured_in_something_says_in_what() -> None:
    """`train` answers with seconds; shapes are told with their dtype."""
    assert "`seconds` in steps" in (inspect.getdoc(difftuning.train) or "")
    assert "float32" in (inspect.getdoc(difftuning.Batch) or "")
    assert "int64" in (inspect.getdoc(difftuning.Condition) or "")
