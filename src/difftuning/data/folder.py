"""A folder of images, flat or with one folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from difftuning.data.base import EncodedSource, Skipped
from difftuning.errors import DataError

_NOT_MEANT = {"thumbs.db", "desktop.ini"}
CAPTIONS = (".txt", ".caption")
"""The suffixes of a caption beside its image; of two captions the first counts."""
CAPTION_BYTES = 65_536
"""The longest caption: text encoders read some hundred words."""


def printable(text: str) -> str:
    """A name of a file, with bytes that are no UTF-8, such as those out of an old archive, in hexadecimal."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def walk(folder: Path) -> Iterator[Path]:
    """The files below a folder but for those in hidden ones; linked folders are entered, each one once.

    Raises:
        DataError: a folder cannot be read.
    """

    def refuse(reason: OSError) -> None:
        raise DataError(f"the folder {reason.filename} cannot be read ({reason.strerror})") from reason

    entered: set[tuple[int, int]] = set()
    for place, inner, names in os.walk(folder, onerror=refuse, followlinks=True):
        own = os.stat(place)
        if (own.st_dev, own.st_ino) in entered:
            inner.clear()
            continue
        entered.add((own.st_dev, own.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(place, name) for name in names)


def files_of(folder: Path, deep: bool) -> list[Path]:
    """The files of a folder in a fixed order; hidden ones, the file manager's own and captions of others are left out."""
    found = walk(folder) if deep else (path for path in folder.iterdir() if not path.is_dir())
    kept = [path for path in found if path.name.lower() not in _NOT_MEANT and not path.name.startswith(".")]
    return _without_captions(sorted(kept, key=lambda path: path.relative_to(folder).as_posix()))


def _without_captions(files: list[Path]) -> list[Path]:
    """The files that are not the captions of others."""
    pictures = {file.with_suffix("") for file in files if file.suffix.lower() not in CAPTIONS}
    return [file for file in files if file.suffix.lower() not in CAPTIONS or file.with_suffix("") not in pictures]


class FileSource(EncodedSource):
    """Files of one folder under classes that whoever lists them has found.

    Args:
        folder: never written to; paths in messages are within it.
        class_names: the label space.
        paths: N files; `labels` says the class of each.
        labels: N places in `class_names`.
        max_pixels: images above it are refused.
    """

    def __init__(
        self, folder: Path, class_names: Sequence[str], paths: list[Path], labels: list[int], max_pixels: int
    ) -> None:
        self.name = printable(str(folder))
        self.class_names, self.labels, self.max_pixels = tuple(map(printable, class_names)), labels, max_pixels
        self._folder, self._paths = folder, paths
        beside = [path for place in dict.fromkeys(path.parent for path in paths) for path in place.iterdir()]
        self._captions = {
            path.with_suffix(""): path
            for suffix in reversed(CAPTIONS)
            for path in beside
            if path.suffix.lower() == suffix and not path.is_dir()
        }

    def encoded(self, index: int) -> bytes:
        """The content of the file."""
        try:
            return self._paths[index].read_bytes()
        except OSError as reason:
            raise DataError(f"{self.origin(index)}: cannot be read ({reason.strerror or reason})") from reason

    def caption(self, index: int) -> str | None:
        """The text file beside it; None where there is none, or nothing in it.

        Raises:
            DataError: it cannot be read.
        """
        file = self._captions.get(self._paths[index].with_suffix(""))
        if file is None:
            return None
        try:
            if (size := file.stat().st_size) > CAPTION_BYTES:
                raise ValueError(f"{size} bytes are more than {CAPTION_BYTES}")
            return file.read_text(encoding="utf-8-sig").strip() or None
        except (OSError, ValueError) as reason:
            raise DataError(
                f"the caption {file.name} beside {self.origin(index)} cannot be read ({reason})"
            ) from reason

    def origin(self, index: int) -> str:
        """The path within the folder."""
        return printable(self._paths[index].relative_to(self._folder).as_posix())


class FolderSource(FileSource):
    """Every file of a folder is taken for an image until reading it shows otherwise.

    A text file beside an image of the same name is its caption: `cat.jpg`, `cat.txt` or `cat.caption`.

    With folders inside, each folder that holds a file is a class (files in deeper folders belong to it), and files
    beside them are set aside. Without, all images are of one class that has the folder's name.

    Args:
        folder: never written to.
        max_pixels: images above it are refused.

    Raises:
        DataError: it holds no files, or most of them lie beside the class folders.
    """

    def __init__(self, folder: Path, max_pixels: int) -> None:
        folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        found = {path.name: files_of(path, deep=True) for path in folders}
        classes = {name: files for name, files in found.items() if files}
        beside = files_of(folder, deep=False)
        if classes and len(beside) > sum(map(len, classes.values())):
            named, inside = ", ".join(list(classes)[:5]), sum(map(len, classes.values()))
            raise DataError(
                f"the folder {folder} holds {len(beside)} files beside the {inside} in its class folders ({named}), so most "
                "would have no class; put them into class folders, or move the folders elsewhere if all are of one class"
            )
        if classes:
            names = tuple(classes)
            paths = [path for files in classes.values() for path in files]
            labels = [label for label, files in enumerate(classes.values()) for _ in files]
            reason = "lies beside the class folders, so it has no class"
            empty = [
                Skipped(printable(path.name), "an empty class folder") for path in folders if path.name not in classes
            ]
            self.skipped = (*(Skipped(printable(path.name), reason) for path in beside), *empty)
        else:
            names, paths, labels = (folder.resolve().name or "images",), beside, [0] * len(beside)
        if not paths:
            raise DataError(f"the folder {folder} holds no images; put images in it, or one folder of images a class")
        super().__init__(folder, names, paths, labels, max_pixels)
