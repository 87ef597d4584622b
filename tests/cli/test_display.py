"""What a person sees: plain lines in a log, bars on a terminal, nothing when silent."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from difftuning.cli import display as displays
from difftuning.cli.display import PlainDisplay, RichDisplay, make_display, plain_table
from difftuning.workflows.display import Silent, sparkline


def test_the_display_fits_the_stream() -> None:
    assert isinstance(make_display(True, io.StringIO()), Silent)
    assert isinstance(make_display(False, io.StringIO()), PlainDisplay)


def test_tables_align_numbers_to_the_right() -> None:
    assert plain_table(("name", "value"), [("a", 1.23456), ("bcd", None)]) == "name  value\na     1.235\nbcd"


def test_a_long_task_says_little_and_always_its_end() -> None:
    out = io.StringIO()
    with PlainDisplay(out).progress("training", 1000) as task:
        for _ in range(1000):
            task.advance(loss="0.21")
    lines = out.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("training 1000/1000 (100 %), ")
    assert lines[0].endswith("/s, loss 0.21")


def test_speed_and_rest_do_not_count_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(displays.time, "monotonic", lambda: now)
    out = io.StringIO()
    with PlainDisplay(out).progress("training", 1000, done=900) as task:
        now = 10.0
        task.advance(20)
    assert out.getvalue() == "training 920/1000 (92 %), 2/s, 0:40 left\n"


def test_bars_nest_and_notes_and_tables_stand_beside_them() -> None:
    out = io.StringIO()
    display = RichDisplay(out)
    display._console = Console(file=out, force_terminal=True, color_system=None, width=100)
    with display.progress("outer [x]", 2) as outer:
        with display.progress("inner", 3) as inner:
            inner.advance(3, loss="1")
        display.note("a [note]")
        outer.advance(2)
    display.table("title", ("a", "b"), [("[x]", 1.0)])
    text = out.getvalue()
    assert all(part in text for part in ("outer [x]", "inner", "a [note]", "2/2", "title", "[x]"))
    assert display._bars is None


def test_at_80_columns_count_and_time_left_are_whole() -> None:
    out = io.StringIO()
    display = RichDisplay(out)
    display._console = Console(file=out, force_terminal=True, color_system=None, width=80)
    with display.progress("train paper/cub200", 1000) as task:
        for _ in range(45):
            task.advance(10, loss="0.1234", heldout="0.1101", **{"by u": "▁▂▃▄▅▆▇█▇▆"})
    last = [line for line in out.getvalue().replace("\r", "\n").split("\n") if "450/1000" in line][-1]
    assert re.search(r"train paper/cub200 +450/1000 \d+:\d\d ", last)
    assert "loss 0.1234" in last


def test_numbers_as_bars() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([0.0, float("nan"), 1.0, float("inf")]) == "▁ █ "
