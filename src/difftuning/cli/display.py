"""How a workflow's notes, tables and progress look: rich on a terminal, plain lines in a log, nothing when silent.

Everything goes to stderr, so that stdout holds results alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from difftuning.workflows.display import Cell, Display, Silent, Task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

INTERVAL = 5.0
"""Seconds between two plain lines about one task."""
WIDE = 110
"""Columns of a terminal that has room for a bar beside the numbers."""


def make_display(silent: bool, stream: TextIO) -> Display:
    """The display that fits a stream: none when silent, rich on a terminal, plain lines elsewhere."""
    if silent:
        return Silent()
    return RichDisplay(stream) if stream.isatty() else PlainDisplay(stream)


def cell_text(cell: Cell) -> str:
    """A cell as text: floats with four digits that count, None as nothing."""
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table as aligned lines, numbers to the right."""
    texts = [list(columns), *([cell_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(columns))]
    right = [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows)
        for column in range(len(columns))
    ]
    lines = [
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, right, strict=True)
        )
        for row in texts
    ]
    return "\n".join(line.rstrip() for line in lines)


class PlainTask:
    """A task that tells how far it is in a line every few seconds, and in a last one when it is done.

    Args:
        stream: where the lines go.
        description: what is being done.
        total: units in all.
        done: units finished before, which do not count for the speed.
    """

    def __init__(self, stream: TextIO, description: str, total: int, done: int) -> None:
        self._stream, self._description, self._total = stream, description, total
        self._first = self._done = done
        self._started = self._told = time.monotonic()
        self._info: dict[str, str] = {}

    def advance(self, n: int = 1, **info: str) -> None:
        """Count, and tell when it is time to or when all is done."""
        self._done += n
        self._info.update(info)
        if time.monotonic() - self._told >= INTERVAL or self._done >= self._total:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        seconds = self._told - self._started
        share = 100 * self._done / max(self._total, 1)
        parts = [f"{self._description} {self._done}/{self._total} ({share:.0f} %)"]
        if self._done > self._first and seconds > 0:
            rate = (self._done - self._first) / seconds
            parts.append(f"{rate:.3g}/s")
            if self._done < self._total:
                parts.append(f"{_duration((self._total - self._done) / rate)} left")
        parts += [f"{name} {text}" for name, text in self._info.items()]
        print(", ".join(parts), file=self._stream, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class PlainDisplay:
    """Plain lines, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        """Say one line."""
        print(text, file=self._stream, flush=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Show a table under its title."""
        print(f"{title}\n{plain_table(columns, rows)}", file=self._stream, flush=True)

    @contextmanager
    def progress(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
        """Show progress as lines."""
        yield PlainTask(self._stream, description, total, done)


class RichTask:
    """One bar."""

    def __init__(self, bars: Progress, bar: TaskID) -> None:
        self._bars, self._bar = bars, bar
        self._info: dict[str, str] = {}

    def advance(self, n: int = 1, **info: str) -> None:
        """Move the bar and change the texts beside it."""
        self._info.update(info)
        self._bars.update(self._bar, advance=n)
        speed = next((task.speed for task in self._bars.tasks if task.id == self._bar), None)
        parts = [*([f"{speed:.3g}/s"] if speed else []), *(f"{name} {text}" for name, text in self._info.items())]
        self._bars.update(self._bar, info="  ".join(parts))


class RichDisplay:
    """Bars and tables, for a terminal. Tasks that run inside each other share one block of bars."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console: Console = Console(file=stream, highlight=False)
        self._bars: Progress | None = None

    def note(self, text: str) -> None:
        """Say one line, above the bars if there are any."""
        self._console.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Show a table under its title."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title), title_justify="left")
        for index, column in enumerate(columns):
            number = bool(rows) and all(isinstance(row[index], int | float | None) for row in rows)
            table.add_column(Text(column), justify="right" if number else "left")
        for row in rows:
            table.add_row(*(Text(cell_text(cell)) for cell in row))
        self._console.print(table)

    @contextmanager
    def progress(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
        """Show a bar; inside another one it disappears when it is done."""
        if self._bars is not None:
            bar = self._add(self._bars, description, total, done)
            try:
                yield RichTask(self._bars, bar)
            finally:
                self._bars.remove_task(bar)
            return
        bars = self._make_bars()
        self._bars = bars
        try:
            with bars:
                yield RichTask(bars, self._add(bars, description, total, done))
        finally:
            self._bars = None

    @staticmethod
    def _add(bars: Progress, description: str, total: int, done: int) -> TaskID:
        return bars.add_task(description, total=total, completed=done, info="")

    def _make_bars(self) -> Progress:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        # What does not fit is cut from the end of the texts, and never from the count or the time left.
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        return Progress(
            TextColumn("{task.description}", markup=False),
            *((BarColumn(20),) if self._console.width >= WIDE else ()),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[info]}", markup=False, table_column=rest),
            console=self._console,
            expand=True,
        )
