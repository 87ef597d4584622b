"""The queue of a study: its cells, each run once, and its rows and page as soon as one is done.

A cell lies under the digest of all that decides its training, so studies share cells, and a finished one is never run again:

    OUT/banks/DIGEST/   OUT/cells/DIGEST/ (a run folder)   OUT/cells/DIGEST/judged/DIGEST.json   OUT/locks/DIGEST.lock
    OUT/streams/DIGEST/ (a stream's folder, of a cell that is one)

Nor is one whose rows are in a result file, wherever they were measured.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from difftuning.config.provenance import provenance
from difftuning.continual.stream import Stream
from difftuning.errors import BusyError, DifftuningError, Preempted, StorageError
from difftuning.evaluation.control_consistency import MEASURES
from difftuning.json_files import write_json
from difftuning.lock import alone
from difftuning.results import Row, read_rows, write_results
from difftuning.studies import KINDS
from difftuning.studies.base import Cell, Study
from difftuning.workflows import bank, recipe
from difftuning.workflows.advise import advice_of
from difftuning.workflows.display import Display
from difftuning.workflows.evaluate import measure
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import is_finished, open_run
from difftuning.workflows.study_files import count, flat, page_of, take, write
from difftuning.workflows.study_leaps import leap_rows
from difftuning.workflows.study_pictures import draw_pictures, keep_samples
from difftuning.workflows.study_rows import KnownRows, placed
from difftuning.workflows.study_streams import placed_stream, stream_rows
from difftuning.workflows.study_swap import swap_rows
from difftuning.workflows.train import train

PROBE = (
    "coefficients.psi={kind: power, tau: 0}",
    "coefficients.whole_target=null",
    "training.retention_labels=null",
)
"""What makes a run the probe of an advised one, and the standard that another is measured by: standard fine-tuning."""


@dataclass
class Queue:
    """Runs cells one after the other, in as many processes as are started with the same `out`.

    Attributes:
        out: where cells and banks lie.
        display: shows progress.
        failed: cells and studies that could not be run, and why.
    """

    out: Path
    display: Display
    failed: list[tuple[str, DifftuningError]] = field(default_factory=list)
    _digests: dict[str, str] = field(default_factory=dict)

    def study(self, one: Study, results: Path, pages: Path, seeds: int | None = None) -> dict[str, Any]:
        """Run all cells of a study, or those of its first seeds.

        Rows and page are written after each that was run, so they can be read at any time.
        """
        written = {"results": results / f"{one.name}.json", "page": pages / f"{one.name}.md"}
        keys = [self.key(one, cell) for cell in one.cells]
        now = sorted({cell.seed for cell in one.cells})[:seeds]
        found: list[list[Row] | None] = [None] * len(keys)
        with self._rows_of(one):
            known = KnownRows(results, dict.fromkeys([*KINDS, one.name]))
            take(known, one, keys, found)
            if others := known.others(one.name, keys):
                self._put_aside(others, results / f"{one.name}.others.json")
                write(one, found, written)
        todo = [index for index, cell in enumerate(one.cells) if found[index] is None and cell.seed in now]
        self.pictures(one, keys, pages, range(len(keys)))
        with self.display.progress(f"study {one.name}", len(one.cells), len(one.cells) - len(todo)) as task:
            for index, rows in self._each(one, keys, todo):
                found[index] = rows
                self.pictures(one, keys, pages, [index])
                self._write(one, keys, found, written)
                task.advance()
        self._write(one, keys, found, written)
        return {"name": one.name, "cells": len(one.cells), **written}

    def _write(
        self, one: Study, keys: Sequence[str], found: list[list[Row] | None], written: Mapping[str, Path]
    ) -> None:
        """The result file and the page, with the rows that other processes have written meanwhile."""
        file = written["results"]
        with self._rows_of(one):
            take(KnownRows(file.parent, [one.name]), one, keys, found)
            # What says by what the rows were made stays where all of them are in the file already.
            if file.is_file() and read_rows(file) == flat(found):
                page_of(one, flat(found), count(found)).write(written["page"])
            else:
                write(one, found, written)

    def _put_aside(self, rows: Sequence[Row], path: Path) -> None:
        """Keep rows of cells that a study does not have any more, behind those that lie there already."""
        there = read_rows(path) if path.is_file() else []
        new = [row for row in rows if row not in there]  # a kill may have come between this file and the study's
        write_json(path, {"rows": [row.model_dump(mode="json", exclude_defaults=True) for row in (*there, *new)]})
        cells = len({row.cell for row in rows})
        self.display.note(f"{len(rows)} rows are of {cells} cells that the study does not have any more; now in {path}")

    def _each(self, one: Study, keys: Sequence[str], todo: Sequence[int]) -> Iterator[tuple[int, list[Row]]]:
        """The rows of these cells, each as soon as they are there.

        A cell that another process is at comes later, so the same command may run in several processes: they share the work. One
        that cannot be run is noted and does not keep back the others.
        """
        wait = False
        while todo:
            busy = []
            for index in todo:
                try:
                    rows = self.cell(one, one.cells[index], keys[index], wait)
                except BusyError:
                    busy.append(index)
                except (Preempted, StorageError):  # the next one would end like it
                    raise
                except DifftuningError as reason:
                    wait, cell = False, one.cells[index]
                    self.fail(f"{one.name}, {cell.method}, seed {cell.seed}, {' '.join(cell.overrides)}", reason)
                else:
                    wait = False
                    yield index, rows
            # All that is left is in other hands: wait for the first of it.
            wait, todo = len(busy) == len(todo), busy

    def fail(self, where: str, reason: DifftuningError) -> None:
        """Note what could not be run."""
        self.failed.append((where, reason))
        self.display.note(f"{where}: {reason}")

    def cell(self, one: Study, cell: Cell, key: str, wait: bool = True) -> list[Row]:
        """The rows of a cell, from its run where that is finished.

        Raises:
            BusyError: another process is at it, without `wait`.
        """
        if cell.stream:
            stream = self._stream(cell)
            with self._alone(Path(stream.out), wait):
                return [placed(row, one, cell, key, row.setting) for row in stream_rows(stream, self.display)]
        made = self.recipe(one, cell, wait)
        self._finish(made, wait)
        rows = read_rows(_judged(made))
        if one.swap:
            with self._alone(made.folder, wait):
                rows += swap_rows(made, _judged(made), rows[0], self.display)
        if one.leaps:
            standard = self._placed(one, cell, *PROBE)
            self._finish(standard, wait)
            assert made.control is not None
            higher = MEASURES[made.control.kind].higher
            rows += leap_rows(made.folder, standard.folder, rows[0], higher)
        return [placed(row, one, cell, key, row.setting) for row in rows]

    def pictures(self, one: Study, keys: Sequence[str], pages: Path, chosen: Sequence[int]) -> None:
        """The pictures of those of the chosen runs that are of the first seed and finished here, in a study that shows any."""
        if one.pictures:
            first = min(cell.seed for cell in one.cells)
            for index in chosen:
                if (cell := one.cells[index]).seed == first:
                    draw_pictures(one, keys[index], _judged(self._placed(one, cell)), pages)

    def _rows_of(self, one: Study) -> AbstractContextManager[None]:
        """Held while the result file of a study is read and written again."""
        return alone(self.out / "locks" / f"rows-{one.name}.lock")

    def _alone(self, folder: Path, wait: bool) -> AbstractContextManager[None]:
        lock = self.out / "locks" / f"{folder.name}.lock"
        return alone(lock, wait, lambda: self.display.note(f"another process is at {folder}; this one waits for it"))

    def key(self, one: Study, cell: Cell) -> str:
        """The digest of what decides the rows of a cell, which says only of an advised psi that it is one."""
        if cell.stream:
            return Path(self._stream(cell).out).name
        made = self._placed(one, cell)
        return _digest(made.folder.name, _judged(made).stem, " ".join(("advised", *cell.probe)) if cell.advised else "")

    def recipe(self, one: Study, cell: Cell, wait: bool = True) -> Recipe:
        """The recipe of a cell, in the folders that its content decides; where it is advised, its probe is made first.

        Raises:
            BusyError: another process is at the probe, without `wait`.
        """
        if not cell.advised:
            return self._placed(one, cell)
        probe = self._placed(one, cell, *PROBE, *cell.probe)
        self._finish(probe, wait)
        return self._placed(one, cell, advice_of(probe))

    def _placed(self, one: Study, cell: Cell, *more: str) -> Recipe:
        made = recipe.load(one.recipe, [*cell.overrides, *more, f"seed={cell.seed}"])
        model, drawn = self._model(made), made.bank.model_dump_json(exclude_none=True)
        drawn += f" clip {made.sampling.clip}"
        besides = made.model_dump_json(include={"text", "resolution"}, exclude_none=True)
        drawn += "" if besides == "{}" else f" {besides}"
        # The held-out error is measured while it trains, and advice is made from it.
        measured = f"{made.evaluation.heldout_draws} draws every {made.training.heldout_every}"
        measured += _judged(made).stem if made.evaluation.distance_every else ""
        measured += " use_best" if made.training.use_best else ""
        folders = {
            "out": str(self.out / "cells" / _digest(model, drawn, made.digest(), measured)),
            "bank_folder": str(self.out / "banks" / _digest(model, drawn)),
        }
        return made.model_copy(update={"name": f"{one.name}/{cell.method}", **folders})

    def _stream(self, cell: Cell) -> Stream:
        """The stream of a cell, in the folder that its content decides."""
        return placed_stream(cell, self.out / "streams", lambda first, text: _digest(self._model(first), text))

    def _model(self, made: Recipe) -> str:
        """The digest of the pretrained model of a recipe."""
        if made.model not in self._digests:
            self._digests[made.model] = pretrained(made).source_digest()
        return self._digests[made.model]

    def _finish(self, made: Recipe, wait: bool) -> None:
        """Draw, train and judge, each as far as it is not done yet."""
        if _judged(made).is_file():
            return
        with self._alone(made.folder, wait):
            if not _judged(made).is_file():
                self._make(made)

    def _make(self, made: Recipe) -> None:
        bank.build(made, self.display)  # for standard fine-tuning too, which is measured on held-out items of it
        if not is_finished(made):
            train(made, self.display, judged=True)
        run, judged = open_run(made.folder), _judged(made)
        found = measure(run, made, self.display)
        keep_samples(run, made, found, judged)
        # The model stays; checkpoints of some hundred cells would fill a disk. They go first: with its rows a cell is done.
        shutil.rmtree(made.folder / "checkpoints", ignore_errors=True)
        by = provenance()
        write_results(judged, found.rows, by["machine"], by["commit"], made.model_dump(mode="json"))


def _judged(made: Recipe) -> Path:
    """The file of a cell's rows: a run may be judged in several ways."""
    ways = (part.model_dump_json(exclude_none=True) for part in (made.sampling, made.evaluation))
    return made.folder / "judged" / f"{_digest(*ways)}.json"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:20]
