"""How the files of known data sets lie in a folder, and how the class of each is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from difftuning.data.base import ImageSource, Skipped
from difftuning.data.cifar import Cifar10
from difftuning.data.folder import FileSource, files_of
from difftuning.errors import DataError


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lie there.

    Attributes:
        form: of what is in the folder.
        read: the images of a folder; the second argument is how many pixels one may have.
    """

    form: str
    read: Callable[[Path, int], ImageSource]


def _sorted(
    folder: Path,
    max_pixels: int,
    form: str,
    class_of: Callable[[PurePath], str | None],
    among: Callable[[PurePath], bool] = lambda path: True,
) -> FileSource:
    """The files of a folder under the classes that their paths tell; those of none are set aside.

    Raises:
        DataError: none has a class.
    """
    within = [(path, path.relative_to(folder)) for path in files_of(folder, deep=True)]
    told = [(path, class_of(inner)) for path, inner in within if among(inner)]
    names = sorted({name for _, name in told if name is not None})
    if not names:
        raise DataError(f"{folder} holds no image as {form}; arrange it so, or set data.target to a folder of images")
    rows = {name: row for row, name in enumerate(names)}
    kept = [(path, rows[name]) for path, name in told if name is not None]
    source = FileSource(folder, names, [path for path, _ in kept], [row for _, row in kept], max_pixels)
    beside = [path.relative_to(folder).as_posix() for path, name in told if name is None]
    source.skipped = tuple(Skipped(path, f"does not lie as {form}, so it has no class") for path in beside)
    return source


def _first(path: PurePath) -> str | None:
    return path.parts[0] if len(path.parts) > 1 else None


def _read_classes(folder: Path, max_pixels: int) -> FileSource:
    return _sorted(folder, max_pixels, CLASSES.form, _first)


def _read_caltech(folder: Path, max_pixels: int) -> FileSource:
    source = _sorted(folder, max_pixels, CLASSES.form, _first, lambda path: path.parts[0] != CLUTTER)
    if (folder / CLUTTER).is_dir():
        source.notes = (f"{CLUTTER} is left out: what it holds belongs to none of the classes",)
    return source


def _read_sun(folder: Path, max_pixels: int) -> FileSource:
    return _sorted(folder, max_pixels, SUN.form, lambda path: "/".join(path.parts[1:-1]) or None)


def _read_birds(folder: Path, max_pixels: int) -> FileSource:
    try:
        names, halves = (
            dict(line.split() for line in (folder / file).read_text(encoding="utf-8").splitlines())
            for file in ("images.txt", "train_test_split.txt")
        )
    except (OSError, ValueError) as reason:
        raise DataError(
            f"{folder}: images.txt and train_test_split.txt tell its training half, and cannot be read ({reason}); "
            "put them back as they are in the archive"
        ) from reason
    training = {name for number, name in names.items() if halves.get(number) == "1"}
    images = folder / "images"
    if not images.is_dir():
        raise DataError(f"{folder} has no folder `images`; put it back as it is in the archive")
    source = _sorted(images, max_pixels, CLASSES.form, _first, lambda path: path.as_posix() in training)
    source.notes = (f"the {len(names) - len(training):,} images of its test half are left out",)
    return source


CLUTTER = "BACKGROUND_Google"

CLASSES = Layout("CLASS/IMAGE", _read_classes)
"""A folder a class."""
CALTECH = Layout("CLASS/IMAGE", _read_caltech)
"""A folder a class, and one of images from the web that belong to none."""
SUN = Layout("LETTER/CLASS/IMAGE or LETTER/CLASS/KIND/IMAGE", _read_sun)
"""Folders by initial; some classes have kinds, each of which is a class."""
BIRDS = Layout("images/CLASS/IMAGE, images.txt and train_test_split.txt", _read_birds)
"""The archive of CUB-200-2011, of which the training half is read."""
CIFAR = Layout("data_batch_*.bin and batches.meta.txt", lambda folder, max_pixels: Cifar10(folder))
"""CIFAR-10's binary version, of which the training half is read."""
