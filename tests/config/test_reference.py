"""The reference says what the schema does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from difftuning.config.loading import parse_yaml
from difftuning.config.reference import Key, reference
from difftuning.errors import ConfigError
from difftuning.workflows.recipe import Recipe, load

ROOT = Path(__file__).parents[2]
KEYS = reference(Recipe)


def test_every_key_has_a_meaning() -> None:
    assert [key.path for key in KEYS if not key.about] == []


@pytest.mark.parametrize(
    "key", [key for key in KEYS if not key.of and key.default is not None], ids=lambda key: key.path
)
def test_a_default_is_what_a_recipe_has_without_it(key: Key) -> None:
    found = Recipe.model_validate({"data": {}}).model_dump(mode="json")
    for part in key.path.split("."):
        if found is None:
            return  # a section that is null has no keys until it is given
        found = found[part]
    assert found == parse_yaml(key.default or "''", key.path)


@pytest.mark.parametrize("key", [key for key in KEYS if key.of], ids=lambda key: f"{key.path}-{key.of}")
def test_a_key_of_a_kind_is_taken_by_it(key: Key) -> None:
    section, name = key.path.rsplit(".", 1)
    siblings = [one for one in KEYS if one.of == key.of and one.path.startswith(f"{section}.") and one.default is None]
    needed = [f"{one.path}={some_value(one)}" for one in siblings if one.path != key.path]
    changes = [f"{section}.kind={key.of}", *(needed if name != "knots" else ())]
    if section == "coefficients.xi":
        changes.append("coefficients.psi.tau=1")  # the default decides xi itself
    load("own-images", [*changes, f"{key.path}={some_value(key)}"])


def some_value(key: Key) -> str:
    """A value that a key takes."""
    section, name = key.path.rsplit(".", 1)
    by_name = {
        "knots": "[[0,0],[1,1]]",
        "start": "{a: b}" if section == "labels" else "0",
        "stop": "1",
        "targets": "['*.to_q']",
        "parameters": "['*.bias']",
        "method": "loha",
        "options": "{r: 2}",
    }
    by_values = {"true or false": "true", "integer > 0": "3", "integer >= 0 or null": "3"}
    return by_name.get(name, by_values.get(key.values, "0.5"))


def test_a_section_can_be_asked_for_alone() -> None:
    assert {key.path.split(".")[0] for key in reference(Recipe, "optim")} == {"optim"}
    with pytest.raises(ConfigError, match=r"no key 'optm'; did you mean 'optim'"):
        reference(Recipe, "optm")


def test_the_page_is_the_schema() -> None:
    page = ROOT / "docs/reference/recipe.md"
    code = "import sys; sys.path.insert(0, 'docs'); from make_reference import page; print(page(), end='')"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == page.read_text(encoding="utf-8"), "run python docs/make_reference.py"
