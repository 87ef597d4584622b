"""Sets that are read once from beginning to end, file by file: tar shards and tables, on disk, in object storage or on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import fsspec  # type: ignore[import-untyped]
from datasets import ClassLabel, Features, load_dataset
from datasets import Image as ImageFeature

from difftuning.data.hub import CAPTION_COLUMNS, IMAGE_COLUMNS, LABEL_COLUMNS, caption_of, column_of, no_text
from difftuning.data.shard_files import TABLES, first_line, listed
from difftuning.data.tar_shards import Sample, is_picture, samples
from difftuning.errors import DataError

_CLASSES = ("cls", *LABEL_COLUMNS)


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
        split: which split, where there are several.
        subset: the configuration of a hub data set that has several.
        columns: what is read of a row.

    Attributes:
        files: by address, in order.

    Raises:
        DataError: nothing is there, or files of several kinds, or the storage cannot be reached.
    """

    def __init__(self, target: str, split: str, subset: str | None, columns: Columns) -> None:
        self.name, self.columns = target, columns
        self.files, self._kind = listed(target, split, subset)
        self._first = next(iter(self.files))

    def expected(self) -> int:
        """How many rows there are, if the bytes of all files hold as much as those of the first, which is read for it."""
        rows, sizes = sum(1 for _ in self.rows(self._first)), [one.size or 0 for one in self.files.values()]
        return max(1, round(rows * (sum(sizes) / sizes[0] if all(sizes) else len(sizes))))

    def rows(self, file: str) -> Iterator[Row]:
        """The rows of a file, in order.

        Raises:
            DataError: it cannot be read to its end, a column is missing, or the first file has no text in that of captions.
        """
        captioned = False
        try:
            for row in self._of_tar(file) if self._kind == ".tar" else self._of_table(file):
                captioned |= row.caption is not None
                yield row
            if self.columns.caption is not None and not captioned and file == self._first:
                raise DataError(no_text(file, self.columns.caption))
        except DataError:
            raise
        except Exception as reason:  # the library, pyarrow and each storage have kinds of their own
            raise DataError(
                f"{file} cannot be read to its end ({type(reason).__name__}: {first_line(reason)}); fetch it again or take it "
                "out, and run the same command: what was read before is kept"
            ) from reason

    def _of_tar(self, file: str) -> Iterator[Row]:
        asked, label = self.columns, None
        seen: set[str] = set()
        with fsspec.open(file, "rb") as stream:
            for number, sample in enumerate(samples(stream)):
                origin = f"{file}, row {number}"
                if number == 0:  # that of the first sample is that of all; pictures and captions may differ
                    label = column_of(file, "label", asked.label, sample, [], _CLASSES)
                seen.update(sample)
                captions = ("txt", *CAPTION_COLUMNS) if asked.caption is None else (asked.caption,)
                content = sample.get(_picture(sample, asked.image, origin))
                yield Row(
                    content if isinstance(content, bytes) else b"",
                    _class(sample, label, origin),
                    next(filter(None, (caption_of(sample.get(field)) for field in captions)), None),
                    origin,
                )
        if file == self._first:  # which is read before anything is encoded; others may have no captions
            column_of(file, "caption", asked.caption, seen, [], ())

    def _of_table(self, file: str) -> Iterator[Row]:
        opened = load_dataset(TABLES[self._kind], data_files=[file], split="train", streaming=True)
        features, asked = opened.features, self.columns
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
                None if caption is None else caption_of(row.get(caption)),
                origin,
            )


def _picture(sample: Sample, asked: str | None, origin: str) -> str:
    """The field of the picture: the one asked for, or the only one there, those like `seg.png` aside where there is a plain one."""
    pictures = [field for field in sample if is_picture(field)]
    plain = [field for field in pictures if "." not in field] or pictures
    found = column_of(origin, "image", asked, sample, plain, IMAGE_COLUMNS)
    if found is None and len(plain) > 1:
        raise DataError(
            f"{origin} has several pictures ({', '.join(plain[:4])}); set data.image_column to one of them, or let what comes "
            "before the first dot of a name tell samples apart"
        )
    return found or ""


def _class(sample: Sample, column: str | None, origin: str) -> str:
    """The class of a sample: all of a file have one, or none has."""
    found = caption_of(sample.get(column or next((one for one in _CLASSES if one in sample), "")))
    if (column is None) == (found is None):
        return found or "images"
    here, there = ("no class", "one") if found is None else ("a class", "none")
    raise DataError(f"{origin} has {here}, and the first sample of its file has {there}; mend or drop it")


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
