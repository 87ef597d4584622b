"""Progress that comes late: nothing of what is soon over, and the rest of what is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from difftuning.workflows.display import Silent, SilentTask, Task, late


class Recorded(Silent):
    """What a display was told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.advanced = 0

    @contextmanager
    def progress(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
        self.begun.append((description, total, done))
        outer = self

        class Told(SilentTask):
            def advance(self, n: int = 1, **info: str) -> None:
                outer.advanced += n

        yield Told()


def test_what_is_soon_over_is_not_shown() -> None:
    display = Recorded()
    with late(display, "work") as progress:
        for done in range(1, 4):
            progress(done, 3)
    assert display.begun == []


def test_what_lasts_is_shown_from_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    display, now = Recorded(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with late(display, "work") as progress:
        for done in range(1, 11):
            now[0] += 0.5
            progress(done, 10)
    assert display.begun == [("work", 10, 5)]
    assert display.advanced == 5
