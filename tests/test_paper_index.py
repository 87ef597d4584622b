"""Every value of the paper's recipes stands in docs/paper-index.md with where it is from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from difftuning.config.loading import parse_yaml
from difftuning.studies import KINDS as STUDIES
from difftuning.workflows.recipes import listing, show

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/paper-index.md").read_text(encoding="utf-8")
PAPER = [one["name"] for one in listing()["recipes"] if one["name"].startswith("paper/")]
ROW = re.compile(r"^\| `([a-zA-Z0-9_.]+)` \| `(.+?)` \| (.+) \|$", re.MULTILINE)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def rows(name: str) -> dict[str, Any]:
    """What the page says of a recipe, and of the one that it otherwise follows."""
    heading, section = next(
        (part.split("\n", 1)[0], part) for part in PAGE.split("\n## ") if part.startswith(f"`{name}`")
    )
    followed = re.search(r"all else as in `(.+)`", heading)
    said = {key: parse_yaml(value, key) for key, value, source in ROW.findall(section) if source.strip()}
    return {**(rows(followed[1]) if followed else {}), **said}


@pytest.mark.parametrize("name", PAPER)
def test_every_value_has_a_source(name: str) -> None:
    given = dict(leaves(show(name)["recipe"]))
    del given["name"], given["out"]
    said = rows(name)
    assert {key: said.get(key) for key in given} == given
    assert "`name` and `out`" in PAGE


def test_what_it_points_to_is_there() -> None:
    table = PAGE.split("## From an experiment of the paper to ours")[1]
    named = re.findall(r"`(paper/[\w.-]+)`", PAGE)
    assert set(named) == set(PAPER)
    cells = [line.split("|")[3] for line in table.splitlines() if line.count("|") == 5]
    studies = {name for cell in cells for name in re.findall(r"`([a-z-]+)`", cell)}
    assert studies <= STUDIES.keys()
    assert len(studies) > 10
