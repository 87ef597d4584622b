"""A set of any size: read once from beginning to end, encoded into files, and trained on from there.

Which images are held out is told from the content of each alone, so that no list of all is needed: those whose hash falls below a
share. Of those images, and of as many to train on, the pictures are kept too, since nothing is read twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from difftuning.data.base import Skipped
from difftuning.data.decoding import decode
from difftuning.data.kept_pictures import PICTURES, Pictures
from difftuning.data.latent_files import MEND, LatentFiles, Part, PartFolder, digest_of
from difftuning.data.latents import CACHE_VERSION, Encoder, LatentSet, together
from difftuning.data.prompted import prompt_of
from difftuning.data.shards import Columns, Row, Shards
from difftuning.data.sources import DataConfig
from difftuning.data.tensors import read_tensors
from difftuning.data.transforms import Transform
from difftuning.errors import DataError
from difftuning.processes import present

PART = 4096
"""Rows that share a file of latents; the work that an interruption can lose."""
TOGETHER = 16
"""Images that are encoded in one batch."""
MOST_HELDOUT = 2048
"""Images that are held out at most, whatever the share: they are measured again and again."""
_SHOWN = 10


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
        DataError: it does.
    """
    wrong = {
        "data.also": config.also,
        "data.per_class": config.per_class,
        "data.group_column": config.group_column,
        "data.drift": config.drift,
        "data.class_prefix": config.class_prefix,
    }
    for key, value in wrong.items():
        if value is not None:
            raise DataError(
                f"{key} needs a list of all images, and {config.target!r} is read as a stream; leave it out, or have "
                "the images as a folder or a table and set data.stream=false"
            )


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
    shards = Shards(
        config.target,
        config.split,
        config.subset,
        Columns(config.image_column, config.label_column, config.caption_column),
    )
    transform = Transform(image_size)
    asked = (codec.digest(), transform.spec, shards.digest, config.flip, config.heldout, config.seed, config.max_pixels)
    template = (by_prompt, config.prompt)
    context = hashlib.sha256(repr((*asked, template, PART, TOGETHER, MOST_HELDOUT, CACHE_VERSION)).encode()).hexdigest()
    folder = PartFolder(cache / "streams" / context[:32])
    files, processes = tuple(shards.files), present()
    before = [folder.of(number) for number in range(len(files))]
    open_ends = [number for number, parts in enumerate(before) if not (parts and parts[-1].last)]
    if open_ends:
        expected = processes.on_main(lambda: _expected(shards))
        mine = open_ends[processes.rank :: processes.count]
        total = expected * len(mine) // len(files)
        writer = _Writer(folder, transform, codec, config, _share(config, expected), by_prompt, progress, total)
        for number in mine:
            writer.write(number, len(before[number]), shards.rows(files[number]))
    processes.gather(None)
    reused = sum(len(parts) for parts in before)
    return _opened(config, folder, [folder.of(number) for number in range(len(files))], reused)


def _expected(shards: Shards) -> int:
    """How many rows there will be, if all files are like the first."""
    first = next(iter(shards.files))
    return max(1, sum(1 for _ in shards.rows(first)) * len(shards.files))


def _share(config: DataConfig, expected: int) -> float:
    """Which share of the images is held out: as asked, and no more than `MOST_HELDOUT` of so many expected ones."""
    asked = config.heldout if config.heldout < 1 else config.heldout / expected
    return min(asked, MOST_HELDOUT / expected, 0.5)


@dataclass(frozen=True, slots=True)
class _Image:
    pixels: Tensor
    label: int
    key: str
    rank: float


@dataclass
class _Writer:
    folder: PartFolder
    transform: Transform
    codec: Encoder
    config: DataConfig
    share: float
    by_prompt: bool
    progress: Callable[[int, int], None]
    total: int
    done: int = 0

    def write(self, file: int, after: int, rows: Iterator[Row]) -> None:
        """Encode a file of the set from a part on."""
        for _ in islice(rows, after * PART):
            self._tell()
        number = after
        while not self._write_part((file, number), islice(rows, PART)):
            number += 1

    def _tell(self) -> None:
        self.done += 1
        self.progress(self.done, max(self.done, self.total))

    def _write_part(self, place: tuple[int, int], rows: Iterator[Row]) -> bool:
        """Encode some rows, and tell whether they were the last. Images are held out or shown by the hash of their content."""
        names: dict[str, int] = {}
        labels: list[int] = []
        latents: list[Tensor] = []
        ready: list[_Image] = []
        held: list[_Image] = []
        shown: list[_Image] = []
        skipped: list[Skipped] = []
        keys = hashlib.sha256()
        count = 0
        for row in rows:
            count += 1
            self._tell()
            try:
                image = self._image(row, names)
            except DataError as reason:
                skipped.append(Skipped(row.origin, str(reason).removeprefix(f"{row.origin}: ")))
                continue
            keys.update(image.key.encode())
            if image.rank < self.share:
                held.append(image)
                continue
            if image.rank < 2 * self.share:
                shown.append(image)
            labels.append(image.label)
            ready.append(image)
            if len(ready) == TOGETHER:  # pictures of a whole part would be too much
                latents.append(self._encoded(ready, self.config.flip).half())
                ready = []
        latents.append(self._encoded(ready, self.config.flip).half())
        ordered = tuple(sorted(names))
        rank = {name: row for row, name in enumerate(ordered)}
        places = torch.tensor([rank[name] for name in names], dtype=torch.int32)
        aside = {
            "heldout": torch.cat([self._encoded(group, False)[:, 0] for group in _groups(held)]).contiguous(),
            PICTURES: torch.stack([image.pixels for image in (*held, *shown)]) if held or shown else self._nothing(),
            "labels": places[[image.label for image in (*held, *shown)]],
        }
        stored = places[labels]
        part = Part(
            names=ordered,
            items=len(labels),
            keys=tuple(image.key for image in held),
            rows=count,
            skipped=len(skipped),
            some=tuple(skipped[:_SHOWN]),
            last=count < PART,
            labels=digest_of(stored),
            digest=hashlib.sha256(f"{keys.hexdigest()}/{labels}/{sorted(names)}".encode()).hexdigest(),
        )
        self.folder.write(place, part, torch.cat(latents).contiguous(), stored, aside)
        return part.last

    def _nothing(self) -> Tensor:
        return torch.empty(0, 3, self.transform.size, self.transform.size, dtype=torch.uint8)

    def _image(self, row: Row, names: dict[str, int]) -> _Image:
        pixels = self.transform.pixels(decode(row.content, row.origin, self.config.max_pixels))
        name = row.label
        if self.by_prompt:
            name = prompt_of(self.config.prompt, row.caption, row.label, row.origin)
        key = hashlib.sha256(row.content).hexdigest()
        rank = int.from_bytes(hashlib.sha256(f"{self.config.seed}/{key}".encode()).digest()[:8], "big") / 2**64
        return _Image(pixels, names.setdefault(name, len(names)), key, rank)

    def _encoded(self, images: Sequence[_Image], flips: bool) -> Tensor:
        """Latents (n, views, C, H, W) float32."""
        pixels = torch.stack([image.pixels for image in images]) if images else self._nothing()
        views = (pixels if images else pixels.new_zeros(1, *pixels.shape[1:])).float() / 127.5 - 1
        # Mirrored before encoding: the mirror image of a latent is not the latent of a mirror image.
        both = torch.stack([views, views.flip(-1)] if flips else [views], 1)
        encoded = self.codec.encode(both.flatten(0, 1)).float().cpu()
        latents = encoded.view(*both.shape[:2], *encoded.shape[1:])[: len(images)]
        if not bool(latents.isfinite().all()):
            raise DataError(f"some latents of {self.config.target} are not finite; is the model's autoencoder whole?")
        return latents


def _groups(images: Sequence[_Image]) -> list[Sequence[_Image]]:
    """Those that are encoded together; an empty group where there are none."""
    return [images[start : start + TOGETHER] for start in range(0, max(1, len(images)), TOGETHER)]


def _opened(config: DataConfig, folder: PartFolder, files: Sequence[Sequence[Part]], reused: int) -> StreamedTarget:
    places = [(file, number) for file, parts in enumerate(files) for number in range(len(parts))]
    parts = [part for of_file in files for part in of_file]
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
