"""The rows of studies that are there already, by the cell that they were measured in.

Rows outlive the runs behind them: whoever has the result files of a study, from another machine or after its runs were
deleted, goes on where they end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import JsonValue

from difftuning.results import SWAP, Row, read_rows
from difftuning.studies import KINDS
from difftuning.studies.base import Cell, Study


class KnownRows:
    """The rows of studies in a folder.

    Args:
        results: the folder of STUDY.json; one that is not there holds none.
        names: of the studies that are looked for.

    Raises:
        CheckpointError: a file's rows do not fit the schema.
    """

    def __init__(self, results: Path, names: Iterable[str] = KINDS) -> None:
        self._all: dict[str, list[Row]] = {}
        self._rows: dict[str, dict[str, list[Row]]] = defaultdict(dict)
        for name in names:
            if (results / f"{name}.json").is_file():
                self._read(results / f"{name}.json")

    def _read(self, path: Path) -> None:
        by_cell: dict[str, list[Row]] = defaultdict(list)
        self._all[path.stem] = read_rows(path)
        for row in self._all[path.stem]:
            if row.cell is not None:
                by_cell[row.cell].append(row)
        for cell, rows in by_cell.items():
            self._rows[cell][path.stem] = rows

    def others(self, name: str, keys: Iterable[str]) -> list[Row]:
        """The rows of a study that belong to no cell with one of these keys."""
        kept = set(keys)
        return [row for row in self._all.get(name, []) if row.cell not in kept]

    def of(self, one: Study, cell: Cell, key: str) -> list[Row] | None:
        """The rows of a cell under the names that it has in a study, or None where they are not all there.

        Args:
            one: the study.
            cell: of it.
            key: the digest of what decides the cell.
        """
        found = [
            rows
            for rows in self._rows.get(key, {}).values()
            if not one.swap or any(row.metric.startswith(SWAP) for row in rows)
        ]
        if not found:
            return None
        # A file may hold a part of them only, as one from before a measure was added does.
        wanted = [row for row in max(found, key=len) if one.swap or not row.metric.startswith(SWAP)]
        return [placed(row, one, cell, key, measured(row)) for row in wanted]


def measured(row: Row) -> Mapping[str, JsonValue]:
    """The setting of a row without what told the cells of its study apart: what the measure itself sets, for instance `u`."""
    study = KINDS.get(row.study)
    of_cells = {name for cell in study.cells for name in cell.setting} if study else set()
    return {name: value for name, value in row.setting.items() if name not in of_cells}


def placed(row: Row, one: Study, cell: Cell, key: str, setting: Mapping[str, JsonValue]) -> Row:
    """A row as the row of a study's cell, whose own setting is what tells it apart, whatever a measure calls its."""
    told = {**cell.setting, **setting, **cell.setting}
    # What a cell is judged by is in its key.
    unsaid = {"against": None, "real": None}
    names = {"study": one.name, "method": cell.method, "cell": key, "setting": told}
    return row.model_copy(update=names | unsaid)
