"""Which images a model is moved to: the config, and how its `target` is understood."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from difftuning.config.section import Section
from difftuning.data import catalogue
from difftuning.data.base import ImageSource, Skipped
from difftuning.data.drifting import DriftConfig, Drifting
from difftuning.data.folder import FolderSource, files_of, printable, walk
from difftuning.data.hub import BUILDERS, DatasetSource, is_described, load_rows
from difftuning.data.shard_files import SPLITS
from difftuning.errors import DataError, did_you_mean

__all__ = ["DataConfig", "FurtherSet", "ImageSource", "SetConfig", "is_streamed", "open_source"]

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm"}
"""Suffixes that make a folder a folder of images even where a table lies beside them."""


class SetConfig(Section):
    """One set of images: where they are and which of them are used for what."""

    target: str = "openmoji"
    """A folder of images or of classes, tar shards, parquet, arrow, jsonl or csv files, an address such as s3://BUCKET/train-*.tar,
    a name of `difftuning data list`, or OWNER/NAME (hub)."""
    subset: str | None = None
    """The configuration of a hub data set that has several."""
    split: str = "train"
    """Which split of a data set is read, or of a folder whose folders are named by splits; it is then split again as below."""
    image_column: str | None = None
    """The column of images; null finds it by kind or name."""
    label_column: str | None = None
    """The column of classes; null finds it by kind or name, and without any all images are of one class."""
    caption_column: str | None = None
    """The column of captions; null finds it by name. Of several captions of an image the first is taken."""
    group_column: str | None = None
    """The column that says which images belong together, such as the frames of one scene: none of a group is held out while others
    of it are trained on. Null for each image by itself."""
    prompt: str | None = None
    """What text-to-image models are asked under: a template with {caption} and {label}. Null for the caption, or the class where
    there is none."""
    per_class: int | None = Field(None, gt=0)
    """How many images of each class to train on (few-shot); null for all that are not held out."""
    heldout: float = Field(0.2, gt=0)
    """What is held out of each class, and of a stream in all: a share below 1, or a count from 1 on."""
    seed: int = Field(0, ge=0)
    """Of the split alone, so that runs of different seeds see the same images."""
    flip: bool = True
    """Mirror half of the images left to right in training."""
    max_pixels: int = Field(2**26, gt=0)
    """Images of more pixels are set aside undecoded."""
    class_prefix: str | None = None
    """What is put before the name of each class, so that classes of two sets with one name stay apart; null for nothing."""
    drift: DriftConfig | None = None
    """Take those images that arrive in a span of time, over which looks and classes move; null for all as they are."""


class FurtherSet(SetConfig):
    """A set beside the target."""

    measure_only: bool | None = None
    """Measure the error on what is held out of it too, and train on none of its images. Null trains on them."""


class DataConfig(SetConfig):
    """The target: where its images are and which of them are used for what."""

    stream: bool | None = None
    """Read the set once from beginning to end and keep its latents in files, with no list of its images in memory: for millions, in
    tar shards, parquet or arrow, in a folder, at an address such as s3://BUCKET/train-*.tar, or on the hub. What is held out is
    then told by each image's content, at most 2,048. Null for tar shards and addresses alone."""
    also: tuple[FurtherSet, ...] | None = None
    """Further sets to train on and be judged by besides, each with the keys of `data` and split by itself; a class of the same name
    is shared. One with `measure_only: true` is judged by, and not trained on. Null for none."""

    @property
    def flips(self) -> set[bool]:
        """Whether images are mirrored in training, of each set that is trained on."""
        return {self.flip, *(one.flip for one in self.also or () if not one.measure_only)}


_COLUMNAR = {".parquet", ".arrow"}


def is_streamed(config: DataConfig) -> bool:
    """Whether a set is read once from beginning to end: where it is asked for, and where nothing else is possible."""
    if config.stream is not None:
        return config.stream
    path = Path(config.target).expanduser()
    if path.is_dir():
        tars = sum(file.is_file() and not file.name.startswith(".") for file in path.glob("*.tar"))
        picture = next((file for file in walk(path) if file.suffix.lower() in _PICTURES), None) if tars else None
        if picture is not None and picture.parent != path:  # previews, or an archive beside what was unpacked from it
            raise DataError(
                f"{config.target!r} holds {tars} tar(s) and pictures, such as {picture.relative_to(path)}; set data.stream=true to "
                "read the tars, or false to read the pictures"
            )
        return tars > 0 and picture is None
    return "://" in config.target or path.suffix.lower() == ".tar"


def needs_all(config: DataConfig, what: str) -> None:
    """See that a set is no stream where something needs a list of all its images.

    Raises:
        DataError: it is one.
    """
    if is_streamed(config):
        raise DataError(
            f"{what} needs a list of all images, and {config.target!r} is read as a stream; leave it out, or have the images as a "
            "folder or a table and set data.stream=false"
        )


def open_source(config: SetConfig, size: int = 128, cache: Path | None = None) -> ImageSource:
    """Open the target of a config.

    Args:
        config: what to open.
        size: the side in pixels at which a target that has to be drawn is drawn.
        cache: where such a target keeps its pictures; None to keep none.

    Raises:
        DataError: there is no such path, name or data set, it is empty, or a column or label is wrong.
    """
    source = _open(config, size, cache)
    if config.class_prefix is not None:
        source.class_names = tuple(f"{config.class_prefix}{name}" for name in source.class_names)
    return source if config.drift is None else Drifting(source, config.drift)


def _open(config: SetConfig, size: int, cache: Path | None) -> ImageSource:
    target = config.target
    if target in catalogue.KINDS:
        for key in ("image_column", "label_column", "caption_column", "group_column"):
            if getattr(config, key) is not None:
                raise DataError(
                    f"data.{key} is for data sets of your own; the columns of {target} are known; leave it out"
                )
        return catalogue.KINDS[target].open(size, cache, config.max_pixels)
    path = Path(target).expanduser()
    if path.exists():
        return _open_path(config, path)
    # A hub name is exactly OWNER/NAME; anything else that is not there is a mistyped path or name.
    owner, _, name = target.partition("/")
    looks_like_path = path.suffix.lower() in BUILDERS or target.startswith((".", "~", "/"))
    if looks_like_path or not owner or not name or "/" in name:
        raise DataError(
            f"data.target {target!r} is neither a path that exists, nor a hub name (OWNER/NAME), "
            f"nor a name of the catalogue{did_you_mean(target, catalogue.KINDS)}"
        )
    return _rows(config, None)


def _open_path(config: SetConfig, path: Path) -> ImageSource:
    if path.is_file():
        if path.suffix.lower() not in BUILDERS:
            raise DataError(
                f"data.target {config.target!r} is a file of none of the kinds {', '.join(BUILDERS)}; "
                "for images name their folder"
            )
        return _rows(config, path)
    if not path.is_dir():
        raise DataError(f"data.target {config.target!r} is neither a file nor a folder")
    saved = any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
    seen = [file for file in path.iterdir() if not file.name.startswith(".")]
    tables = any(file.suffix.lower() in BUILDERS for file in seen if file.is_file())
    pictures = any(file.is_dir() or file.suffix.lower() in _PICTURES for file in seen)
    below = path / "data"
    if not tables and below.is_dir() and any(file.suffix.lower() in _COLUMNAR for file in walk(below)):
        tables, pictures = True, False  # a data set of the hub as it is cloned, with a picture for its card perhaps
    if saved or is_described(path) or (tables and not pictures):
        return _rows(config, path)
    return _of_folder(config, path)


def _of_folder(config: SetConfig, path: Path) -> FolderSource:
    """A folder of images or of classes; where all its folders are named by splits, the one of `data.split`."""
    folders = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    filled = [one for one in folders if any(walk(one))]
    splits = {SPLITS.get(one.name.lower()): one for one in filled}
    if not filled or None in splits:
        return FolderSource(path, config.max_pixels)
    there, wanted = ", ".join(one.name for one in filled), SPLITS.get(config.split, config.split)
    if wanted not in splits or len(splits) < len(filled):
        raise DataError(
            f"the folder {path} holds the splits {there}, and data.split is {config.split!r}; set data.split to one of them, or "
            "name one of the folders"
        )
    source, beside = FolderSource(splits[wanted], config.max_pixels), files_of(path, deep=False)
    if len(beside) > len(source):
        raise DataError(
            f"the folder {path} holds {len(beside)} files beside the {len(source)} in {splits[wanted].name}, which names a split; "
            "move the files or the folders elsewhere"
        )
    reason = "lies beside the folders of splits"
    source.skipped = (*source.skipped, *(Skipped(printable(one.name), reason) for one in beside))
    source.notes = (f"of the splits {there} the one of data.split={config.split}",)
    return source


def _rows(config: SetConfig, path: Path | None) -> ImageSource:
    rows = load_rows(config.target, path, config.split, config.subset)
    base = None if path is None else path if path.is_dir() else path.parent
    return DatasetSource(
        config.target,
        rows,
        config.image_column,
        config.label_column,
        config.caption_column,
        config.max_pixels,
        base,
        config.group_column,
    )
