"""Every study is made of recipes that load, and of cells that are all different."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path

import pytest

from difftuning.config.loading import parse_yaml
from difftuning.data.catalogue import KINDS as TARGETS
from difftuning.studies import KINDS
from difftuning.studies.base import Study
from difftuning.workflows import phases
from difftuning.workflows.recipe import Recipe, load
from difftuning.workflows.study_settings import methods, settings

RUNS = [study for study in KINDS.values() if not any(cell.stream for cell in study.cells)]
STUDIES = pytest.mark.parametrize("study", RUNS, ids=lambda study: study.name)


def recipes(study: Study) -> list[Recipe]:
    """Of the cells whose recipe is known before anything is run."""
    plain = [cell for cell in study.cells if not cell.advised]
    return [load(study.recipe, [*cell.overrides, f"seed={cell.seed}"]) for cell in plain]


@STUDIES
def test_cells_are_different_recipes_of_known_targets(study: Study) -> None:
    found = recipes(study)
    assert len({recipe.model_dump_json() for recipe in found}) == len(found) > 0
    assert {recipe.data.target for recipe in found} <= TARGETS.keys()


@STUDIES
def test_a_method_with_a_setting_means_one_recipe_but_for_target_and_seed(study: Study) -> None:
    meant: dict[str, set[str]] = {}
    plain = [cell for cell in study.cells if not cell.advised]
    for cell, recipe in zip(plain, recipes(study), strict=True):
        plain = recipe.model_copy(update={"seed": 0, "data": recipe.data.model_copy(update={"target": ""})})
        meant.setdefault(f"{cell.method} {dict(cell.setting)}", set()).add(plain.model_dump_json())
    assert all(len(found) == 1 for found in meant.values())


@STUDIES
def test_the_page_tells_enough_to_make_its_runs(study: Study) -> None:
    told, parts = dict(settings(study)), {name: re.findall("`(.+?)`", text) for name, text in methods(study)}
    alike = [f"{key}={value}" for key, value in told.items() if ", " not in value or value.startswith("{")]
    plain = [cell for cell in study.cells if not cell.advised]
    for cell, recipe in zip(plain, recipes(study), strict=True):
        assert set(parts[cell.method]) <= {*cell.overrides, *parts[cell.method][-1:]}
        if not cell.setting:
            place = [f"data.target={recipe.data.target}", f"seed={cell.seed}"]
            assert load(study.recipe, [*alike, *parts[cell.method], *place]) == recipe
        values = recipe.model_dump(mode="json")
        for key, value in told.items():
            here = reduce(lambda section, name: section[name], key.split("."), values)
            # What a recipe leaves to the machine is decided when it is loaded.
            assert value == "auto" or here in parse_yaml(f"[{value}]", key)


def test_the_page_of_streams_tells_what_their_phases_have() -> None:
    told, parts = dict(settings(KINDS["continual"])), dict(methods(KINDS["continual"]))
    assert told["training.steps"] == "500, 1000"
    assert parts["joint"] == "`method.kind=joint` `coefficients.psi={kind: power, tau: 0.0}`"
    assert parts["adaptive under classes"] == "`coefficients.psi={kind: adaptive}`"


@STUDIES
def test_lines_of_the_tables_are_there(study: Study) -> None:
    if study.down not in ("target", "share"):  # the swap curve makes the shares
        assert all(study.down in cell.setting for cell in study.cells)


@STUDIES
def test_the_quick_form_has_every_kind_of_cell_once(study: Study) -> None:
    quick = study.quick()
    kinds = {(cell.method, str(dict(cell.setting)) if study.down != "target" else "") for cell in study.cells}
    assert {(cell.method, str(dict(cell.setting)) if study.down != "target" else "") for cell in quick.cells} == kinds
    assert len(quick.cells) == len(kinds)
    found = recipes(quick)
    assert all(recipe.training.steps <= 8000 // 250 for recipe in found)
    assert len({recipe.model_dump_json() for recipe in found}) == len(found)


def test_the_study_of_streams_has_every_method_on_every_stream_and_a_quick_form() -> None:
    study = KINDS["continual"]
    streams = {cell.stream: phases.load(cell.stream[0], list(cell.stream[1:])) for cell in study.cells}
    assert len(streams) == 4 * 8
    assert len(study.cells) == 4 * (8 + 2 * 2), "the seeds behind the first are of what decides"
    plain = [stream for stream in streams.values() if stream.method.kind == "refresh"]
    assert {recipe.data.target for stream in plain for recipe in phases.recipes_of(stream)} <= TARGETS.keys()
    quick = study.quick()
    assert [cell.method for cell in quick.cells] == list(dict.fromkeys(cell.method for cell in study.cells))
    for cell in quick.cells:
        made = phases.recipes_of(phases.load(cell.stream[0], list(cell.stream[1:]), list(cell.overrides)))
        assert {(recipe.training.steps, recipe.bank.count) for recipe in made} == {(8, 32)}


def test_the_documentation_names_every_study_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs/how-to/studies.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE) == list(KINDS)
