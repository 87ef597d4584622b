"""What every source of images can do, and what is said about an image that cannot be used."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from difftuning.data.decoding import decode, size_of
from difftuning.errors import DataError


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or row that was set aside.

    Attributes:
        origin: the file, or the row of the data set.
        reason: why it cannot be used.
    """

    origin: str
    reason: str

    @staticmethod
    def of(source: ImageSource, index: int, reason: DataError) -> Skipped:
        """An image of a source, and why it cannot be used."""
        origin = source.origin(index)
        return Skipped(origin, str(reason).removeprefix(f"{origin}: "))


class ImageSource(ABC):
    """Images with a label each, read one at a time. Reading never writes to where they come from.

    Attributes:
        name: for messages: the path or the name that was asked for.
        class_names: the label space; label k is `class_names[k]`.
        skipped: what was set aside when the source was opened.
        notes: what else there is to say of it, such as a count other than the published one.
        grouped: whether its images come in groups, of which none is held out while another is trained on.
    """

    name: str
    class_names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    grouped: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are, unusable ones among them."""

    @abstractmethod
    def read(self, index: int) -> Image.Image:
        """The image, RGB or RGBA.

        Raises:
            DataError: it cannot be read or decoded.
        """

    @abstractmethod
    def label(self, index: int) -> int:
        """Its class, in [0, len(class_names))."""

    @abstractmethod
    def key(self, index: int) -> str:
        """The sha256 of its content: equal for equal images wherever they lie.

        Raises:
            DataError: it cannot be read.
        """

    @abstractmethod
    def origin(self, index: int) -> str:
        """The file or row, for messages."""

    def size(self, index: int) -> tuple[int, int] | None:
        """The sides of its picture in pixels, as they were seen when `key` read it; None where they are not known."""
        return None

    def place(self, index: int) -> str:
        """The file or row within its set, by which something else belongs to it.

        Raises:
            DataError: its set names no files.
        """
        return self.origin(index)

    def caption(self, index: int) -> str | None:
        """Its caption; None where there is none."""
        return None

    def group(self, index: int) -> str:
        """What it must stay together with when the images are split, by the name of the group.

        Raises:
            DataError: these images are no data set with a column of groups.
        """
        raise DataError(f"{self.name} is no data set, so it has no column of groups; set data.group_column to null")

    def in_column(self, column: str, index: int) -> bytes:
        """Another picture of the same row of a data set, as a file.

        Raises:
            DataError: these images are no data set, it has no such column, or nothing is there.
        """
        raise DataError(f"{self.name} is no data set, so it has no column {column!r}; give its maps in a folder")


class EncodedSource(ImageSource):
    """Images that lie there as encoded files, whatever holds them: decoded by Pillow, known by the digest of their bytes.

    Attributes:
        labels: the class of each.
        max_pixels: larger images are refused before a pixel is decoded.
    """

    labels: list[int]
    max_pixels: int

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """The content of the file.

        Raises:
            DataError: it cannot be read.
        """

    def __len__(self) -> int:
        """How many files there are."""
        return len(self.labels)

    def read(self, index: int) -> Image.Image:
        """The image, RGB or RGBA."""
        return decode(self.encoded(index), self.origin(index), self.max_pixels)

    def label(self, index: int) -> int:
        """Its class."""
        return self.labels[index]

    def key(self, index: int) -> str:
        """The sha256 of the file."""
        content = self.encoded(index)
        if index not in self._sizes:
            self._sizes[index] = size_of(content)
        return hashlib.sha256(content).hexdigest()

    def size(self, index: int) -> tuple[int, int] | None:
        """The sides of its picture, by the head of the file."""
        return self._sizes.get(index)

    @cached_property
    def _sizes(self) -> dict[int, tuple[int, int] | None]:
        return {}
