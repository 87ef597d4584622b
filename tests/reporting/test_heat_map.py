"""The heat map shows every number that was measured, and the change since the phase itself."""

from __future__ import annotations

import math
import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from difftuning.reporting.heat_map import _change, _panel, change_map, heat_map

GRID = [[2.0, 4.0], [1.0, 3.0], [1.5, 2.0]]
MODELS, PHASES = ("pretrained", "a", "b"), ("a", "b")


def drawn(grid: list[list[float | None]]) -> Axes:
    axes = Figure().subplots()
    _panel("error", grid, MODELS, PHASES, axes)
    return axes


def test_each_number_stands_in_its_place_with_its_change() -> None:
    axes = drawn([*GRID])
    texts = {(text.get_position()): text.get_text() for text in axes.texts}
    assert texts == {
        (0.5, 0.5): "2\n+100.0%",
        (1.5, 0.5): "4\n+100.0%",
        (0.5, 1.5): "1",
        (1.5, 1.5): "3\n+50.0%",
        (0.5, 2.5): "1.5\n+50.0%",
        (1.5, 2.5): "2",
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == list(MODELS)
    assert axes.yaxis_inverted()


def test_what_was_not_measured_is_left_empty() -> None:
    axes = drawn([[None, None], [1.0, None], [1.5, 2.0]])
    assert [text.get_text() for text in axes.texts] == ["1", "1.5\n+50.0%", "2"]
    assert math.isnan(_change([[None, None], [1.0, None], [1.5, None]], 2, 1))


def test_the_same_numbers_give_the_same_bytes() -> None:
    one, other = (heat_map({"error": GRID, "distance": GRID}, MODELS, PHASES) for _ in range(2))
    assert one == other
    assert one.startswith(b"<?xml")


def test_a_map_of_changes_names_its_cases_and_methods_once_and_leaves_out_what_was_not_measured() -> None:
    grid = [[-0.1, None], [0.025, 0.0]]
    picture = change_map({"error": grid, "distance": grid}, ["near, few", "far, many"], ["one way", "other"]).decode()
    drawn = re.findall(r"<!-- (.+?) -->", picture)
    assert drawn.count("near, few") == drawn.count("far, many") == 1
    assert drawn.count("one") == drawn.count("way") == drawn.count("other") == 2
    assert (
        sorted(text for text in drawn if text.endswith("%"))
        == ["+0.0%"] * 2 + ["+2.5%"] * 2 + ["\N{MINUS SIGN}10.0%"] * 2
    )
