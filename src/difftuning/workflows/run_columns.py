"""Which runs share a column of a page, and how it is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from difftuning.workflows.evaluate import method_of
from difftuning.workflows.run_history import RunHistory


def column_names(histories: Sequence[RunHistory]) -> dict[Path, str]:
    """The column of each run: runs that differ in their seed share one, named by their method.

    Where one method was run by several recipes, or twice from one seed, each but the first has the name of its folder too.
    """
    names: dict[Path, str] = {}
    columns: dict[tuple[str, str], str] = {}
    taken: set[tuple[str, int]] = set()
    for one in histories:
        method = method_of(one.recipe)
        alike = one.recipe.model_copy(update={"seed": 0}).judged() + one.recipe.bank.model_dump_json()
        plain = method if method not in columns.values() else f"{method} {one.path.name}"
        name = columns.setdefault((method, alike), plain if plain not in columns.values() else f"{method} {one.path}")
        if (name, one.recipe.seed) in taken:
            name = f"{method} {one.path}"
        taken.add((name, one.recipe.seed))
        names[one.path] = name
    return names


def first_of_each(histories: Sequence[RunHistory], names: Mapping[Path, str]) -> dict[str, RunHistory]:
    """The first run of each column."""
    shown: dict[str, RunHistory] = {}
    for one in histories:
        shown.setdefault(names[one.path], one)
    return shown


def compared(names: Iterable[str]) -> tuple[str, str]:
    """Which column is compared with which: Diff-Tuning with standard fine-tuning where both are there.

    Else the first other one with the first that is standard fine-tuning, or with the first of all.
    """
    columns = list(dict.fromkeys(names))
    if len(columns) < 2 or {"diff-tuning", "finetune"} <= {*columns}:
        return "diff-tuning", "finetune"
    plain = [name for name in ("finetune", *columns) if name in columns and name.startswith("finetune")]
    baseline = next(iter(plain), columns[0])
    return next(name for name in columns if name != baseline), baseline
