"""What is said of a recipe before it trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftuning.workflows.display import Silent
from difftuning.workflows.recipe import load
from difftuning.workflows.train import check


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["ema.decay=0.9"], "28% of the model that is written and judged is the one before training: after 12 steps"),
        (["ema.decay=0.9", "training.steps=40"], None),
        (["ema.decay=0"], None),
        (["ema={kind: halflife}"], None),
        (["ema={kind: halflife, rampup: null, halflife_images: 48}"], "50% of the model"),
    ],
)
def test_an_average_that_is_still_the_pretrained_model_is_told(
    recipe_file: Path, changes: list[str], told: str | None
) -> None:
    lines: list[str] = []
    display = Silent()
    display.note = lines.append  # type: ignore[method-assign]
    check(load(str(recipe_file), changes), display)
    assert [told in line for line in lines if "before training" in line] == ([True] if told else [])


def test_classes_that_take_rows_of_other_names_are_told(recipe_file: Path) -> None:
    lines: list[str] = []
    display = Silent()
    display.note = lines.append  # type: ignore[method-assign]
    recipe = load(str(recipe_file), ["labels.kind=keep"])
    prepared = check(recipe, display)
    known = set(prepared.target.class_names) <= set(prepared.backbone.labels.names)
    assert not known
    first = prepared.backbone.labels.names[0]
    assert [f"from {first!r} on" in line for line in lines if "labels.kind=extend" in line] == [True]
