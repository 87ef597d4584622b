"""A set of any size: read once from beginning to end, encoded into files, and trained on from there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from difftuning.data.kept_pictures import Pictures
from difftuning.data.latent_files import MEND, LatentFiles, Part, PartFolder, Shares, read_shares, write_shares
from difftuning.data.latents import CACHE_VERSION, Encoder, LatentSet, together
from difftuning.data.part_writer import PART, TOGETHER, PartWriter
from difftuning.data.prompted import fields
from difftuning.data.shards import Columns, Shards
from difftuning.data.sources import DataConfig, needs_all
from difftuning.data.tensors import read_tensors
from difftuning.data.transforms import Transform
from difftuning.errors import DataError
from difftuning.processes import on_this_machine, present

MOST_HELDOUT = 2048
"""About as many images are held out at most, whatever the share: they are measured again and again."""
_SHOWN = 3
"""Prompts that a report names."""
LEAST_SHOWN = 32
"""About as many pictures to train on are kept at least."""


@dataclass(frozen=True)
class StreamedTarget:
    """What reading once leaves: latents on disk, held-out images, and pictures.

    Attributes:
        train: latents to train on.
        heldout: latents to measure the error on.
        source: the pictures that were kept.
    """

    train: LatentFiles
    heldout: LatentSet
    source: Pictures


def check(config: DataConfig) -> None:
    """See that a config asks nothing of a streamed set that needs a list of all its images.

    Raises:
        ConfigError: `data.prompt` is malformed.
        DataError: it does.
    """
    fields(config.prompt or "")
    wrong = {
        "data.per_class": config.per_class,
        "data.group_column": config.group_column,
        "data.drift": config.drift,
        "data.class_prefix": config.class_prefix,
    }
    for key, value in wrong.items():
        if value is not None:
            needs_all(config, key)


def open_streamed(
    config: DataConfig,
    image_size: int,
    codec: Encoder,
    cache: Path,
    progress: Callable[[int, int], None],
    by_prompt: bool,
) -> StreamedTarget:
    """Encode what is not encoded yet, and open all of it. Parts that are whole are kept; several processes share the others.

    Raises:
        DataError: there is no such set, it cannot be read to its end, or no image is left to train on or to hold out.
    """
    check(config)
    columns = Columns(config.image_column, config.label_column, config.caption_column)
    shards = Shards(config.target, config.split, config.subset, columns)
    transform, template = Transform(image_size), (by_prompt, config.prompt)
    asked = (codec.digest(), transform.spec, columns, config.flip, config.heldout, config.seed, config.max_pixels)
    context = (*asked, template, PART, TOGETHER, MOST_HELDOUT, CACHE_VERSION)
    streams, processes = cache / codec.cached_in / "streams", present()
    # Each set has its own: were they shared, what is held out of one would hang on which was encoded first.
    kept = streams / f"shares-{_name_of(_place(config), config.split, config.subset, context)}.json"
    shares = processes.on_main(lambda: read_shares(kept) or _shares(config, shards.expected()))
    write_shares(kept, shares)
    folder = PartFolder(streams / _name_of(context, shares.heldout, shares.shown))
    writer = PartWriter(folder, transform, codec, config, shares, by_prompt, progress)
    keys = {file: one.key for file, one in shards.files.items()}
    parts = folder.all(keys.values())
    reused = sum(map(len, parts.values()))

    def open_ends() -> list[str]:
        return [file for file, key in keys.items() if not (parts[key] and parts[key][-1].last)]

    # Where machines do not share a cache, each finds in the second round what others have encoded in the first.
    todo = processes.on_main(open_ends)
    for rank, count in ((processes.rank, processes.count), on_this_machine()):
        if processes.any(bool(todo)):
            mine = todo[rank::count]
            writer.total = shares.expected * len(mine) // len(keys)
            for file in mine:
                writer.write(keys[file], len(parts[keys[file]]), shards.rows(file))
            processes.gather(None)
            parts = folder.all(keys.values())
        todo = open_ends()
    if todo:
        raise DataError(f"{todo[0]} was encoded, and its parts in {folder.folder} are gone; run the same command again")
    found = _opened(config, folder, parts, reused)
    if by_prompt:
        names = found.source.class_names
        found.source.notes = (f"prompts: {len(names)}, for instance {', '.join(map(repr, names[:_SHOWN]))}",)
    return found


def _name_of(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:32]


def _place(config: DataConfig) -> str:
    """The target; a path or a pattern from the root, so that one set has one place wherever the command is run."""
    path = Path(config.target).expanduser()
    there = "://" not in config.target and (path.exists() or "*" in config.target)
    return str(path.absolute()) if there else config.target


def _shares(config: DataConfig, expected: int) -> Shares:
    """As much held out as asked, and no more than `MOST_HELDOUT` of so many expected rows; as much shown, and not too little."""
    asked = config.heldout if config.heldout < 1 else config.heldout / expected
    heldout = min(asked, MOST_HELDOUT / expected, 0.5)
    return Shares(heldout, min(max(heldout, LEAST_SHOWN / expected), 0.5), expected)


def _opened(config: DataConfig, folder: PartFolder, files: Mapping[str, Sequence[Part]], reused: int) -> StreamedTarget:
    places = [(file, number) for file, parts in files.items() for number in range(len(parts))]
    parts = [part for of_file in files.values() for part in of_file]
    names = tuple(sorted(together([part.names for part in parts]), key=_by_number))
    rows = {name: row for row, name in enumerate(names)}
    latents: list[Tensor] = []
    held: list[tuple[tuple[int, int], int]] = []
    shown: list[tuple[tuple[int, int], int]] = []
    for file, (place, part) in enumerate(zip(places, parts, strict=True)):
        found = read_tensors(folder.aside(place))
        if found is None:
            raise DataError(f"{folder.aside(place)} is damaged; {MEND}")
        local = torch.tensor([rows[name] for name in part.names], dtype=torch.int64)[found["labels"]]
        latents.append(found["heldout"])
        kept = [((file, row), label) for row, label in enumerate(local.tolist())]
        held += kept[: len(part.keys)]
        shown += kept[len(part.keys) :]
    keys = tuple(key for part in parts for key in part.keys)
    if not keys or not any(part.items for part in parts):
        empty = "held out; raise data.heldout" if not keys else "left to train on; lower data.heldout"
        some = "; ".join(f"{one.origin}: {one.reason}" for part in parts for one in part.some[:1])
        raise DataError(f"{config.target}: none of {sum(part.rows for part in parts)} images is {empty} ({some})")
    if not shown:
        raise DataError(f"{config.target}: none of the images to train on was kept to be seen; raise data.heldout")
    where, labels = zip(*held, *shown, strict=True)
    pictures = Pictures(config.target, names, [folder.aside(place) for place in places], where, labels)
    border = len(keys)
    report = f"{len(parts) - reused} part(s) encoded, {reused} reused"
    train = LatentFiles(
        [folder.latents(place) for place in places],
        parts,
        names,
        config.flip,
        torch.arange(border, len(pictures)),
        report,
    )
    heldout = LatentSet(
        latents=torch.cat(latents),
        mirrored=None,
        labels=torch.tensor(labels[:border], dtype=torch.int64),
        class_names=names,
        indices=torch.arange(border),
        keys=keys,
        report=f"{border} by the hash of their content",
    )
    return StreamedTarget(train, heldout, pictures)


def _by_number(name: str) -> tuple[int, int, str]:
    """Classes that are numbers in their order, then the others in theirs."""
    return (0, int(name), "") if name.isascii() and name.isdecimal() and len(name) < 20 else (1, 0, name)
