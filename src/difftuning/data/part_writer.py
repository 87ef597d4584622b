"""Encode the rows of a streamed set into parts: latents to train on, and, of some of its images, what is kept besides.

Which images are held out is told from the content of each alone, so that no list of all is needed: those whose hash falls below a
share. Of those images, and of some to train on, the pictures are kept too, since nothing is read twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from difftuning.data.base import Skipped
from difftuning.data.decoding import decode
from difftuning.data.kept_pictures import PICTURES
from difftuning.data.latent_files import Part, PartFolder, Shares, digest_of
from difftuning.data.latents import Encoder
from difftuning.data.prompted import prompt_of
from difftuning.data.shards import Row
from difftuning.data.sources import DataConfig
from difftuning.data.transforms import Transform
from difftuning.errors import DataError

PART = 4096
"""Rows that share a file of latents; the work that an interruption can lose."""
TOGETHER = 16
"""Images that are encoded in one batch."""
_SHOWN = 10
"""Set-aside rows that a part names."""


@dataclass(frozen=True, slots=True)
class _Image:
    pixels: Tensor
    label: int
    key: str
    rank: float


@dataclass
class PartWriter:
    """Writes the parts of files, one file after the other.

    Attributes:
        folder: where to.
        transform: to the model's size.
        codec: the model's.
        config: of the set.
        shares: how many images are held out, and shown.
        by_prompt: labels are prompts.
        progress: told after each row how many of how many there are.
        total: how many rows are expected.
    """

    folder: PartFolder
    transform: Transform
    codec: Encoder
    config: DataConfig
    shares: Shares
    by_prompt: bool
    progress: Callable[[int, int], None]
    total: int = 0
    done: int = 0

    def write(self, file: str, after: int, rows: Iterator[Row]) -> None:
        """Encode a file of the set from a part on."""
        for _ in islice(rows, after * PART):
            self._tell()
        number = after
        while not self._write_part((file, number), islice(rows, PART)):
            number += 1

    def _tell(self) -> None:
        self.done += 1
        self.progress(self.done, max(self.done, self.total))

    def _write_part(self, place: tuple[str, int], rows: Iterator[Row]) -> bool:
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
            if image.rank < self.shares.heldout:
                held.append(image)
                continue
            if image.rank < self.shares.heldout + self.shares.shown:
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
            digest=hashlib.sha256(f"{keys.hexdigest()}/{digest_of(stored)}/{ordered}".encode()).hexdigest(),
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
