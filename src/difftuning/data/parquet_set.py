"""A known data set that is one parquet file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from difftuning.data.base import ImageSource
from difftuning.data.known import FOLDER, KnownSet, data_folders
from difftuning.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetSet(KnownSet):
    """A file with a column `image`.

    Attributes:
        file: its name in a data folder.
        label: the column of classes; None where all images are of one.
        group: the column of what stays together when the images are split; None for each image by itself.
    """

    file: str
    label: str | None = "label"
    group: str | None = None

    @property
    def looked_for(self) -> tuple[str, ...]:
        """The file."""
        return (self.file,)

    def find(self) -> Path | None:
        """The file that is read."""
        return next((found for folder in data_folders() if (found := folder / self.file).is_file()), None)

    def read(self, size: int, cache: Path | None, max_pixels: int) -> ImageSource:
        """Its rows."""
        from difftuning.data.hub import (
            DatasetSource,
            load_rows,
        )  # the library takes a second, which a listing need not wait for

        path = self.find()
        if path is None:
            raise DataError(
                f"data.target {self.name!r} is read from {self.file}, which is not in {' or '.join(map(str, data_folders()))}; "
                f"name its folder in {FOLDER} (docs/how-to/studies.md says how to make it), "
                "or set data.target to a folder of images"
            )
        return DatasetSource(
            self.name,
            load_rows(self.name, path, "train", None),
            "image",
            self.label,
            None,
            max_pixels,
            None,
            self.group,
        )
