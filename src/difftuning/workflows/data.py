"""`data`: the targets that are known by name, and whether they are there."""

from __future__ import annotations

from typing import Any

from difftuning.data.catalogue import KINDS
from difftuning.data.known import FOLDER, KnownSet, data_folders
from difftuning.errors import DataError, did_you_mean


def listing() -> dict[str, Any]:
    """All of them: `{"folders": [...], "targets": [{"name", "images", "classes", "terms", "looked_for", "there"}, ...]}`."""
    shown = ("name", "images", "classes", "terms", "looked_for", "there")
    targets = [{key: row[key] for key in shown} for row in map(_row, KINDS.values())]
    return {"folders": [str(folder) for folder in data_folders()], "targets": targets}


def show(name: str) -> dict[str, Any]:
    """One of them, with its source, the part of it that is meant, and the checksum of its archive.

    Raises:
        DataError: there is none of that name.
    """
    if name not in KINDS:
        raise DataError(f"the catalogue has no target {name!r}{did_you_mean(name, KINDS)}")
    return {**_row(KINDS[name]), "folders": f"{', '.join(map(str, data_folders()))} ({FOLDER})"}


def _row(known: KnownSet) -> dict[str, Any]:
    found = known.find()
    packaged = not known.looked_for
    return {
        "name": known.name,
        "title": known.title,
        "source": known.source,
        "terms": known.terms,
        "images": known.images,
        "classes": known.classes,
        "part": known.part,
        "checksum": known.checksum,
        "looked_for": list(known.looked_for),
        "there": packaged or found is not None,
        "path": str(found) if found is not None else None,
    }
