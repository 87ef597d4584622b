"""What a workflow may say while it works. The command line draws it; a script may leave it silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from math import isfinite
from typing import Protocol

BARS = "▁▂▃▄▅▆▇█"
"""From the lowest to the highest, of which a line of numbers is made."""

Cell = str | int | float | None
"""What a table may hold; None is an empty cell."""


class Task(Protocol):
    """One piece of work in progress."""

    def advance(self, n: int = 1, **info: str) -> None:
        """`n` more units are done; `info` are short texts to show beside the bar, such as loss="0.21"."""
        ...


class Display(Protocol):
    """Where a workflow's notes, tables and progress go."""

    def note(self, text: str) -> None:
        """Say one line."""
        ...

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Show a table; each row has one cell a column."""
        ...

    def progress(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        """Show progress of `total` units, of which `done` were finished before; tasks may nest."""
        ...


class Total(Protocol):
    """Told how many units are done in all."""

    def __call__(self, done: int, /, **info: str) -> None:
        """`done` units in all; `info` as in `Task.advance`."""
        ...


def sparkline(values: Sequence[float]) -> str:
    """Numbers as a line of bars, from the lowest to the highest of them; a blank for one that is not finite."""
    there = [value for value in values if isfinite(value)]
    low, high = min(there, default=0.0), max(there, default=0.0)
    span = (high - low) or 1.0
    return "".join(BARS[round((one - low) / span * (len(BARS) - 1))] if isfinite(one) else " " for one in values)


def total(task: Task, done: int = 0) -> Total:
    """A function that brings a task from `done` units to the total that it is told; it never goes back."""
    shown = done

    def tell(now: int, /, **info: str) -> None:
        nonlocal shown
        task.advance(max(0, now - shown), **info)
        shown = max(shown, now)

    return tell


@contextmanager
def late(display: Display, description: str) -> Iterator[Callable[[int, int], None]]:
    """Progress that is told `done` of `total` units, and shows nothing of what is over within two seconds."""
    with ExitStack() as stack:
        begin, tell = time.monotonic(), None

        def progress(done: int, units: int) -> None:
            nonlocal tell
            if tell is None and time.monotonic() - begin > 2:
                tell = total(stack.enter_context(display.progress(description, units, done)), done)
            elif tell is not None:
                tell(done)

        yield progress


class SilentTask:
    """A task that shows nothing."""

    def advance(self, n: int = 1, **info: str) -> None:
        """Nothing is shown."""


class Silent:
    """A display that shows nothing."""

    def note(self, text: str) -> None:
        """Nothing is shown."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Nothing is shown."""

    @contextmanager
    def progress(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
        """Nothing is shown."""
        yield SilentTask()
