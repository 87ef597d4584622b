"""A target that is known by name: what it is, what it should hold, and where it is looked for."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from difftuning.data.base import ImageSource

FOLDER = "DIFFTUNING_DATA"
"""The environment variable that names the folders of known targets, parted as in PATH; `data` without it."""


def data_folders() -> list[Path]:
    """Where known targets are looked for, the first that holds one wins."""
    return [Path(folder).expanduser() for folder in os.environ.get(FOLDER, "data").split(os.pathsep) if folder]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSet(ABC):
    """A row of the catalogue.

    Attributes:
        name: what `data.target` calls it.
        title: its own name.
        source: where it comes from.
        terms: its licence, or what its makers say of its use.
        images: how many there should be; None where that depends on the version.
        classes: how many there should be.
        part: which of its images these are.
        checksum: of the official archive, and who publishes it.
    """

    name: str
    title: str
    source: str
    terms: str
    images: int | None
    classes: int | None
    part: str = "all of it"
    checksum: str = "not published"

    @property
    @abstractmethod
    def looked_for(self) -> tuple[str, ...]:
        """The forms in which it is taken, below any of the data folders; empty where it comes with a package."""

    @abstractmethod
    def find(self) -> Path | None:
        """Where it is; None where it is nowhere."""

    @abstractmethod
    def read(self, size: int, cache: Path | None, max_pixels: int) -> ImageSource:
        """See `open`."""

    def open(self, size: int, cache: Path | None, max_pixels: int) -> ImageSource:
        """The images, with a note where they are not as many as they should be.

        Args:
            size: the side in pixels at which a set that has to be drawn is drawn.
            cache: where such a set keeps its pictures; None to keep none.
            max_pixels: images above it are refused.

        Raises:
            DataError: it is not there, or lies there in a form that is not read.
        """
        source = self.read(size, cache, max_pixels)
        found, wanted = (len(source), len(source.class_names)), (self.images, self.classes)
        if any(should not in (None, there) for there, should in zip(found, wanted, strict=True)):
            source.notes += (
                f"{self.name}: {_count(*found)}, where {_count(*wanted)} are expected ({self.part}); is it whole?",
            )
        return source


def _count(images: int | None, classes: int | None) -> str:
    shown = ["some" if number is None else f"{number:,}" for number in (images, classes)]
    return f"{shown[0]} images in {shown[1]} classes"
