"""What all commands share: their usual arguments, and how a workflow is run and its result printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from difftuning.cli.display import make_display
from difftuning.json_files import to_json
from difftuning.processes import present
from difftuning.workflows.display import Display

MOST_ITEMS = 20
"""Of a list that a person reads; all of it is for `--json`."""
SETTINGS = {"help_option_names": ["-h", "--help"]}

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Values to replace, such as optim.lr=1e-4.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def perform(
    work: Callable[[Display], Mapping[str, Any]],
    json: bool,
    quiet: bool,
    told: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> Mapping[str, Any]:
    """Do the work and print its result: JSON, or the plain entries of what is told of it a line each.

    Only results reach stdout, and those once.
    """
    result = on_stderr(work, json or quiet)
    if not present().main:
        return result
    if json:
        print(to_json(result, indent=1))
    else:
        entries = _entries(told(result))
        width = max((len(name) for name, _ in entries), default=0)
        for name, value in entries:
            print(f"{name.ljust(width)}  {value}")
    return result


def on_stderr(work: Callable[[Display], Mapping[str, Any]], silent: bool) -> Mapping[str, Any]:
    """The result of the work, with all that it says on stderr."""
    with redirect_stdout(sys.stderr):  # some libraries print
        return work(make_display(silent or not present().main, sys.stderr))


def _entries(result: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """What a person reads of a result: its single values under dotted names; lists of records are for `--json`."""
    found = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            found += _entries(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            if value and all(isinstance(item, str | int | float) for item in value):
                found.append((prefix + name, _listed(value)))
        elif value is not None:
            found.append((prefix + name, str(value)))
    return found


def _listed(items: Sequence[str | int | float]) -> str:
    shown, more = items[:MOST_ITEMS], len(items) - MOST_ITEMS
    return ", ".join(map(str, shown)) + (f" and {more:,} more (all of them with --json)" if more > 0 else "")
