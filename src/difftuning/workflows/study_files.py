"""The result file and the page of a study, from the rows of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from difftuning.config.provenance import provenance
from difftuning.json_files import read_json, to_json, write_text
from difftuning.reporting.study_page import StudyPage
from difftuning.results import Row, read_rows
from difftuning.studies.base import Study
from difftuning.workflows import recipe
from difftuning.workflows.study_rows import KnownRows
from difftuning.workflows.study_settings import methods, settings


def take(known: KnownRows, one: Study, keys: Sequence[str], found: list[list[Row] | None]) -> None:
    """Fill in the rows of cells that are known already."""
    for index, (cell, key) in enumerate(zip(one.cells, keys, strict=True)):
        if found[index] is None:
            found[index] = known.of(one, cell, key)


def rewrite(one: Study, results: Path, pages: Path) -> dict[str, Any]:
    """The page of a study again, from its rows."""
    written = {"results": results / f"{one.name}.json", "page": pages / f"{one.name}.md"}
    page_of(one, read_rows(written["results"]), read_json(written["results"])["finished"]).write(written["page"])
    return {"name": one.name, "cells": len(one.cells), **written}


def page_of(one: Study, rows: Sequence[Row], done: int) -> StudyPage:
    """The page of a study from the rows of its first `done` cells."""
    return StudyPage(
        name=one.name,
        title=one.title,
        asked=one.asked,
        note=one.note,
        down=one.down,
        metrics=one.metrics,
        curves=one.curves,
        leaps=one.leaps,
        pictures=one.pictures,
        recipe=one.recipe,
        settings=settings(one),
        methods=methods(one),
        rows=tuple(rows),
        finished=done,
        cells=len(one.cells),
    )


def write(one: Study, found: Sequence[Sequence[Row] | None], written: Mapping[str, Path]) -> None:
    """The rows that there are, one a line, with what they were made by, and the page of them."""
    rows, done = flat(found), count(found)
    base = recipe.load(one.recipe, []).model_dump(mode="json")
    head = {"study": one.name, "cells": len(one.cells), "finished": done, **provenance(), "recipe": base}
    lines = ",\n".join(to_json(row.model_dump(mode="json", exclude_defaults=True)) for row in rows)
    write_text(written["results"], f'{to_json(head)[:-1]},\n"rows": [\n{lines}\n]}}\n')
    page_of(one, rows, done).write(written["page"])


def flat(found: Sequence[Sequence[Row] | None]) -> list[Row]:
    """The rows of all cells that have some, in order."""
    return list(chain.from_iterable(rows for rows in found if rows is not None))


def count(found: Sequence[Sequence[Row] | None]) -> int:
    """How many cells have their rows."""
    return sum(rows is not None for rows in found)
