"""A known data set that lies unpacked in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from difftuning.data.base import ImageSource
from difftuning.data.known import FOLDER, KnownSet, data_folders
from difftuning.data.layouts import Layout
from difftuning.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive(KnownSet):
    """A data set as its archive unpacks, or as it is arranged by hand where that has no folder a class.

    Attributes:
        places: folders below a data folder and how files lie in them; the first that is there is read.
        refused: what may be there in a form that is not read, and why.
    """

    places: tuple[tuple[str, Layout], ...]
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def looked_for(self) -> tuple[str, ...]:
        """Folder and form of each place."""
        return tuple(f"{path}/{layout.form}" for path, layout in self.places)

    def find(self) -> Path | None:
        """The folder that is read."""
        return found[0] if (found := self._found()) else None

    def _found(self) -> tuple[Path, Layout] | None:
        there = ((folder / path, layout) for folder in data_folders() for path, layout in self.places)
        return next((one for one in there if one[0].is_dir()), None)

    def read(self, size: int, cache: Path | None, max_pixels: int) -> ImageSource:
        """The images where they lie."""
        found = self._found()
        if found is not None:
            return found[1].read(found[0], max_pixels)
        forms, folders = " or as ".join(self.looked_for), " or ".join(map(str, data_folders()))
        for folder in data_folders():
            for path, reason in self.refused.items():
                if (folder / path).exists():
                    raise DataError(f"data.target {self.name!r}: {folder / path} {reason}; arrange it as {forms}")
        raise DataError(
            f"data.target {self.name!r} is read as {forms}, which is not in {folders}; get it from {self.source} and name its "
            f"folder in {FOLDER}, or set data.target to a folder of images"
        )
