"""Images of a data set that the `datasets` library reads: from the hub, from local files, or saved to disk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, Value, load_dataset, load_from_disk
from datasets import Image as ImageFeature

from difftuning.data.base import EncodedSource
from difftuning.data.folder import printable
from difftuning.data.shard_files import SPLITS
from difftuning.errors import DataError, did_you_mean

BUILDERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
}
"""The suffixes of data files, and the loader that reads them."""
_OWN_FOLDERS = tuple(Path(folder) for folder in (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME))
"""Where the library itself puts files that rows may name besides."""
IMAGE_COLUMNS = ("image", "img", "picture", "file_name")
LABEL_COLUMNS = ("label", "labels", "class", "category", "cls")
CAPTION_COLUMNS = ("caption", "text", "prompt", "txt")


def is_described(path: Path) -> bool:
    """Whether a table of Hugging Face's kind tells of the images of a folder: in it, or in one that a split is named by."""
    places = (path, *(one for one in path.iterdir() if one.is_dir() and one.name.lower() in SPLITS))
    return any((place / f"metadata.{kind}").is_file() for place in places for kind in ("jsonl", "csv", "parquet"))


def load_rows(target: str, path: Path | None, split: str, subset: str | None) -> Dataset:
    """Load a data set by path or, with no path, by hub name.

    Raises:
        DataError: it cannot be loaded, or has no such split.
    """
    try:
        loaded = _from_hub(target, subset) if path is None else _from_path(path)
    except DataError:
        raise
    except Exception as reason:  # the library, pyarrow and the hub client each have kinds of their own
        first = (str(reason).splitlines() or [""])[0]
        mend = (
            "is the name right, and can the hub be reached? `difftuning doctor --hub` tells; files on disk need no hub"
            if path is None
            else "is the file whole, and of the kind that its suffix says?"
        )
        raise DataError(
            f"the data set {target!r} cannot be loaded ({type(reason).__name__}: {first}); {mend}"
        ) from reason
    if isinstance(loaded, Dataset):
        return loaded
    if split not in loaded:
        raise DataError(f"the data set {target!r} has no split {split!r}{did_you_mean(split, map(str, loaded))}")
    return loaded[split]


def _from_hub(target: str, subset: str | None) -> DatasetDict:
    return load_dataset(target, subset)


def _from_path(path: Path) -> Dataset | DatasetDict:
    if path.is_dir():
        if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            return load_from_disk(str(path))
        if is_described(path):
            return load_dataset("imagefolder", data_dir=str(path))
        kinds = sorted({file.suffix for file in path.iterdir() if file.suffix.lower() in BUILDERS})
        if len(kinds) > 1:
            raise DataError(
                f"the folder {path} holds files of several kinds ({', '.join(kinds)}); name one file, or keep one kind"
            )
        # datasets tells splits by the names of the files: train-0.parquet, test-0.parquet.
        return load_dataset(str(path))
    return load_dataset(BUILDERS[path.suffix.lower()], data_files=[str(path)])


class DatasetSource(EncodedSource):
    """The rows of a data set.

    Args:
        name: for messages.
        rows: the data set.
        image_column: None for the only column of images, or one of a usual name.
        label_column: None for the only column of class labels, or one of a usual name; without, all rows are one class.
        caption_column: None for one of a usual name, if there is one.
        max_pixels: images above it are refused.
        base: what relative paths in an image column start from.
        group_column: what must stay together when the images are split; None for nothing.

    Raises:
        DataError: there are no rows, a column is missing, or a label is outside the space.
    """

    def __init__(
        self,
        name: str,
        rows: Dataset,
        image_column: str | None,
        label_column: str | None,
        caption_column: str | None,
        max_pixels: int,
        base: Path | None = None,
        group_column: str | None = None,
    ) -> None:
        self.name = name
        self.max_pixels = max_pixels
        self._base = base or Path()
        if len(rows) == 0:
            raise DataError(f"the data set {name} has no rows")
        features = rows.features
        images = [column for column, feature in features.items() if isinstance(feature, ImageFeature)]
        labels = [column for column, feature in features.items() if isinstance(feature, ClassLabel)]
        image = column_of(name, "image", image_column, features, images, IMAGE_COLUMNS)
        if image is None:
            raise DataError(
                f"the data set {name} has no column of images that can be told by its kind or name; "
                f"set data.image_column to one of: {', '.join(features)}"
            )
        self._image = image
        label = column_of(name, "label", label_column, features, labels, LABEL_COLUMNS)
        caption = column_of(name, "caption", caption_column, features, [], CAPTION_COLUMNS)
        self.class_names, self.labels = (
            _labels(name, _values(name, rows, label), features[label], label)
            if label
            else (("images",), [0] * len(rows))
        )
        group = column_of(name, "group", group_column, features, [], ())
        self.grouped = group is not None
        self._groups = [str(value) for value in _values(name, rows, group)] if group else None
        self._captions = [caption_of(value) for value in _values(name, rows, caption)] if caption else None
        if caption_column is not None and not any(self._captions or ()):
            raise DataError(no_text(name, caption_column))
        # Undecoded, so that one bad image does not end the reading of the others.
        for column in images:
            rows = rows.cast_column(column, ImageFeature(decode=False))
        self._rows = rows

    def encoded(self, index: int) -> bytes:
        """The content of the file."""
        return self.in_column(self._image, index)

    def in_column(self, column: str, index: int) -> bytes:
        """The content of the file in a column."""
        if column not in self._rows.features:
            raise DataError(
                f"the data set {self.name} has no column {column!r}{did_you_mean(column, self._rows.features)}"
            )
        try:
            value = self._rows[index][column]
        except UnicodeDecodeError as reason:
            raise DataError(f"{self.origin(index)}: text that is no UTF-8 ({reason})") from reason
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or not value:
            raise DataError(f"{self.origin(index)}: no image")
        path = self._base / value
        if not any(path.resolve().is_relative_to(folder.resolve()) for folder in (self._base, *_OWN_FOLDERS)):
            raise DataError(f"{self.origin(index)}: {value} lies outside {self._base}; put the images below it")
        try:
            return path.read_bytes()
        except OSError as reason:
            raise DataError(f"{self.origin(index)}: {value} cannot be read ({reason.strerror or reason})") from reason

    def origin(self, index: int) -> str:
        """The row."""
        return f"row {index}"

    def place(self, index: int) -> str:
        """The file that its row names, below the folder of the set; of a row without one, the row.

        Raises:
            DataError: no row names a file.
        """
        return self._files[index] or self.origin(index)

    @cached_property
    def _files(self) -> list[str | None]:
        images = self._rows.select_columns([self._image]).flatten()  # no file is opened, and no bytes are copied
        texts = {name for name, kind in images.features.items() if kind in (Value("string"), Value("large_string"))}
        column = next((name for name in (f"{self._image}.path", self._image) if name in texts), None)
        values = images[column][:] if column is not None else [None] * len(images)
        found = [_below(value, self._base) if value else None for value in values]
        if not any(found):
            raise DataError(
                f"the rows of {self.name} name no files, so nothing in a folder can belong to them; give their maps in a column "
                "(control.column)"
            )
        return found

    def group(self, index: int) -> str:
        """Its value in the column of groups."""
        return super().group(index) if self._groups is None else self._groups[index]

    def caption(self, index: int) -> str | None:
        """Its caption; None where there is none."""
        return None if self._captions is None else self._captions[index]


def _below(path: str, base: Path) -> str | None:
    """The path of a file below a folder; of one elsewhere, such as in the library's cache, the name."""
    file = Path(path.partition("::")[0].partition("://")[2] or path)  # a file in an archive is zip://FILE::ARCHIVE
    if not file.is_absolute():
        return printable(file.as_posix()) if file.name else None
    for own in (base.absolute(), base.resolve()):  # the library resolves what links to the folder
        if file.is_relative_to(own):
            return printable(file.relative_to(own).as_posix())
    return printable(file.name)


def caption_of(value: object) -> str | None:
    """A caption without the space around it, of several the first; None where there is no text."""
    if isinstance(value, list | tuple):
        return next(filter(None, map(caption_of, value)), None)
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return (value.strip() or None) if isinstance(value, str) else None


def no_text(name: str, column: str) -> str:
    """What is said of a column of captions that was asked for and holds none."""
    return f"the column {column!r} of {name} holds no text; set data.caption_column to one that does, or leave it out"


def _values(name: str, rows: Dataset, column: str) -> list[Any]:
    try:
        return list(rows[column][:])
    except UnicodeDecodeError as reason:  # pyarrow takes any bytes for text
        raise DataError(
            f"the data set {name} holds text in column {column!r} that is no UTF-8 ({reason}); write it anew as UTF-8"
        ) from reason


def column_of(
    name: str, role: str, asked: str | None, features: Collection[str], of_kind: Sequence[str], usual: Sequence[str]
) -> str | None:
    """The column asked for, else the only one of the kind, else one of a usual name."""
    if asked is not None:
        if asked not in features:
            hint = did_you_mean(asked, features)
            raise DataError(f"the data set {name} has no column {asked!r} (data.{role}_column){hint}")
        return asked
    if len(of_kind) == 1:
        return of_kind[0]
    found = next((column for column in usual if column in features), None)
    if found is None and role == "label" and len(of_kind) > 1:
        raise DataError(
            f"the data set {name} has several columns of classes ({', '.join(of_kind)}); set data.label_column"
        )
    return found


def _labels(name: str, values: Sequence[Any], feature: object, column: str) -> tuple[tuple[str, ...], list[int]]:
    """Class names and the label of each row."""
    if isinstance(feature, ClassLabel):
        names = tuple(str(one) for one in feature.names)
        for row, value in enumerate(values):
            if value is None or not 0 <= value < len(names):
                raise DataError(
                    f"the data set {name} has the label {value} in row {row}, outside its space of {len(names)} "
                    f"classes (0 to {len(names) - 1}); mend or drop the row, or choose another data.split"
                )
        return names, [int(value) for value in values]
    if not (isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "string", "large_string", "bool"))):
        raise DataError(f"the column {column!r} of {name} holds no classes; set data.label_column to names or integers")
    missing = next((row for row, value in enumerate(values) if value is None), None)
    if missing is not None:
        raise DataError(f"the data set {name} has no label in row {missing} (column {column!r}); mend or drop the row")
    known = sorted(set(values))
    position = {value: label for label, value in enumerate(known)}
    return tuple(str(value) for value in known), [position[value] for value in values]
