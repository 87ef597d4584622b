"""`study`: run the cells of a study, or of all, each once, and write its rows, its page and the page of all claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difftuning.errors import ConfigError, DifftuningError, Preempted, StorageError, did_you_mean
from difftuning.studies import KINDS
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.study_files import rewrite
from difftuning.workflows.study_index import write_index
from difftuning.workflows.study_queue import Queue

ALL = "all"
QUICK = "quick"
"""The folder of what `quick` writes, below that of results and that of pages."""


def study(
    name: str,
    out: Path,
    results: Path | None = None,
    pages: Path | None = None,
    quick: bool = False,
    only_pages: bool = False,
    seeds: int | None = None,
    display: Display | None = None,
) -> dict[str, Any]:
    """Run a study by name, or all of them, going on from what is finished.

    Args:
        name: a key of `studies.KINDS`, or "all".
        out: where cells and banks lie.
        results: the folder of STUDY.json; OUT/results without it.
        pages: the folder of STUDY.md; OUT/pages without it.
        quick: the smallest form of each.
        only_pages: run nothing, and write the pages again from the rows that are there.
        seeds: run only the cells of the first so many seeds of each study; rows of others that are there stay.
        display: shows progress.

    Returns:
        `{"studies": [{"name", "cells", "results", "page"}, ...], "index": the page of all claims}`.

    Raises:
        ConfigError: there is no such study.
        DifftuningError: some cells or studies could not be run; that of the first, after all others.
    """
    if name != ALL and name not in KINDS:
        raise ConfigError(f"there is no study {name!r}{did_you_mean(name, [*KINDS, ALL])}")
    chosen = [one.quick() if quick else one for one in (KINDS.values() if name == ALL else (KINDS[name],))]
    queue = Queue(out, display or Silent())
    results, pages = results or out / "results", pages or out / "pages"
    if quick:
        # What decides nothing must not take the place of what does.
        results, pages = results / QUICK, pages / QUICK
    if only_pages:
        found = [rewrite(one, results, pages) for one in chosen if (results / f"{one.name}.json").is_file()]
        if not found:
            raise ConfigError(
                f"{results} has no rows of {name}, so there is nothing to make pages of; name the folder by --results"
            )
    else:
        found = []
        for one in chosen:
            try:
                found.append(queue.study(one, results, pages, seeds))
            except (Preempted, StorageError):
                raise
            except DifftuningError as reason:  # such as a model that is not there
                queue.fail(one.name, reason)
    index = write_index(results, pages, quick)
    if queue.failed:
        where, first = queue.failed[0]
        raise type(first)(
            f"{len(queue.failed)} of what was asked for could not be run, all else is done; {where}: {first}"
        ) from first
    return {"studies": found, "index": index}
