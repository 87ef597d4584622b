"""Sets that are read once from beginning to end, file by file: tar shards and tables, on disk, in object storage or on the hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec  # type: ignore[import-untyped]
from datasets import ClassLabel, Features, load_dataset, load_dataset_builder
from datasets import Image as ImageFeature

from difftuning.data.hub import CAPTION_COLUMNS, IMAGE_COLUMNS, LABEL_COLUMNS, column_of
from difftuning.data.tar_shards import is_picture, samples
from difftuning.errors import DataError, did_you_mean

TABLES = {".parquet": "parquet", ".arrow": "arrow"}
"""The suffixes of tables that can be read from beginning to end, and the loader that reads them."""
KINDS = (".tar", *TABLES)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are read; None finds one by kind or name, as `DatasetSource` does."""

    image: str | None = None
    label: str | None = None
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """An image on its way through.

    Attributes:
        content: the encoded file; empty where there is none.
        label: the name of its class.
        caption: None where there is none.
        origin: file and row, for messages.
    """

    content: bytes
    label: str
    caption: str | None
    origin: str


class Shards:
    """Files of one kind.

    Args:
        target: a folder of such files, one of them, a pattern (`s3://bucket/train-*.tar`), or OWNER/NAME of the hub.
        split: of a hub data set.
        subset: the configuration of a hub data set that has several.
        columns: what is read of a row.

    Attributes:
        files: their addresses, in order.
        digest: changes when a file has another address, size or time.

    Raises:
        DataError: nothing is there, or files of several kinds, or the storage cannot be reached.
    """

    def __init__(self, target: str, split: str, subset: str | None, columns: Columns) -> None:
        self.name, self._columns = target, columns
        try:
            found = _listed(target) or _on_hub(target, split, subset)
        except DataError:
            raise
        except Exception as reason:  # each storage has errors of its own kinds
            raise DataError(
                f"data.target {target!r} cannot be listed ({type(reason).__name__}: {_first_line(reason)}); is the address right, "
                "and can it be reached from here?"
            ) from reason
        kinds = {kind for kind in map(_kind, found) if kind}
        if len(kinds) != 1:
            state = "files of several kinds" if kinds else f"no file ending in {', '.join(KINDS)}"
            raise DataError(f"data.target {target!r} has {state}; name a pattern of one kind, such as {target}/*.tar")
        self._kind = kinds.pop()
        self.files = {file: mark for file, mark in found.items() if _kind(file) == self._kind}
        self.digest = hashlib.sha256("/".join([*self.files.values(), repr(columns)]).encode()).hexdigest()

    def rows(self, file: str) -> Iterator[Row]:
        """The rows of a file, in order.

        Raises:
            DataError: it cannot be read to its end, or a column is missing.
        """
        try:
            yield from self._of_tar(file) if self._kind == ".tar" else self._of_table(file)
        except DataError:
            raise
        except Exception as reason:  # the library, pyarrow and each storage have kinds of their own
            raise DataError(
                f"{file} cannot be read to its end ({type(reason).__name__}: {_first_line(reason)}); fetch it again or take it "
                "out, and run the same command: what was read before is kept"
            ) from reason

    def _of_tar(self, file: str) -> Iterator[Row]:
        asked = self._columns
        with fsspec.open(file, "rb") as stream:
            for number, sample in enumerate(samples(stream)):
                pictures = [field for field in sample if is_picture(field)]
                image = column_of(file, "image", asked.image, sample, pictures[:1], IMAGE_COLUMNS)
                label = column_of(file, "label", asked.label, sample, [], LABEL_COLUMNS)
                caption = column_of(file, "caption", asked.caption, sample, [], CAPTION_COLUMNS)
                content = sample.get(image or "")
                yield Row(
                    content if isinstance(content, bytes) else b"",
                    "images" if label is None else _text(sample[label]) or "",
                    None if caption is None else _text(sample[caption]),
                    f"{file}, row {number}",
                )

    def _of_table(self, file: str) -> Iterator[Row]:
        opened = load_dataset(TABLES[self._kind], data_files=[file], split="train", streaming=True)
        features, asked = opened.features, self._columns
        if features is None:
            raise DataError(f"{file} does not tell its columns; write it as parquet or tar")
        images = [column for column, feature in features.items() if isinstance(feature, ImageFeature)]
        labels = [column for column, feature in features.items() if isinstance(feature, ClassLabel)]
        image = column_of(file, "image", asked.image, features, images, IMAGE_COLUMNS)
        if image is None:
            raise DataError(
                f"{file} has no column of images that can be told; set data.image_column to one of {', '.join(features)}"
            )
        label = column_of(file, "label", asked.label, features, labels, LABEL_COLUMNS)
        caption = column_of(file, "caption", asked.caption, features, [], CAPTION_COLUMNS)
        for column in images:  # undecoded, so that one bad image does not end the reading of the others
            opened = opened.cast_column(column, ImageFeature(decode=False))
        for number, row in enumerate(opened):
            origin = f"{file}, row {number}"
            yield Row(
                _content(row.get(image)),
                "images" if label is None else _name(row.get(label), features, label, origin),
                None if caption is None else _text(row.get(caption)),
                origin,
            )


def _kind(file: str) -> str | None:
    return next((kind for kind in KINDS if file.partition("?")[0].lower().endswith(kind)), None)


def _listed(target: str) -> dict[str, str]:
    """The files at a path, an address or a pattern, with what tells when one has changed; empty where there is no such place."""
    storage, path = fsspec.core.url_to_fs(target)
    paths = storage.glob(path) if "*" in path else storage.find(path)
    return {storage.unstrip_protocol(one): str(storage.ukey(one)) for one in sorted(paths) if _kind(one)}


def _on_hub(target: str, split: str, subset: str | None) -> dict[str, str]:
    owner, _, name = target.partition("/")
    if not owner or not name or "/" in name or "://" in target or owner in (".", "~"):
        raise DataError(f"data.target {target!r} is no path, address or pattern of files ending in {', '.join(KINDS)}")
    files: Any = load_dataset_builder(target, subset).config.data_files
    if split not in files:
        raise DataError(f"the data set {target!r} has no split {split!r}{did_you_mean(split, map(str, files))}")
    return {str(file): str(file) for file in files[split]}  # an address of the hub names its revision


def _text(value: object) -> str | None:
    """Without the space around it; None where nothing is left."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return (value.strip() or None) if isinstance(value, str) else None


def _content(value: object) -> bytes:
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else b""


def _name(value: object, features: Features, column: str, origin: str) -> str:
    feature = features[column]
    if value is None:
        raise DataError(f"{origin}: no label in column {column!r}; mend or drop the row")
    if isinstance(feature, ClassLabel):
        if not isinstance(value, int) or not 0 <= value < feature.num_classes:
            raise DataError(f"{origin}: the label {value!r} is outside its space of {feature.num_classes} classes")
        return str(feature.names[value])
    if not isinstance(value, str | int):
        raise DataError(f"{origin}: {value!r} is no class; set data.label_column to names or integers")
    return str(value).strip()


def _first_line(reason: Exception) -> str:
    return (str(reason).splitlines() or [""])[0]
