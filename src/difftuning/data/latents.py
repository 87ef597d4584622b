"""Images as latents, computed once: the cache is keyed by content, so that nothing stale is ever used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from difftuning.data.base import ImageSource, Skipped
from difftuning.data.tensor_cache import TensorCache
from difftuning.data.transforms import Transform
from difftuning.errors import DataError

CACHE_VERSION = 1
"""Raised when this file would store other latents under the same key."""


class Encoder(Protocol):
    """What is needed of a codec; a `difftuning.backbones.codec.Codec` is one."""

    def encode(self, images: Tensor, /) -> Tensor:
        """Images (n, 3, H, W) in [-1, 1] -> latents (n, C, h, w), deterministic."""
        ...

    def digest(self) -> str:
        """Changes when the latents would, by more than the rounding of a device."""
        ...

    @property
    def cached_in(self) -> str:
        """The part of a cache where its latents are kept; empty for the whole."""
        ...


@dataclass(frozen=True)
class LatentSet:
    """Encoded images with their labels, in memory.

    Attributes:
        latents: (N, C, H, W) float32.
        mirrored: (N, C, H, W) float32, of the mirrored images; None where no flips were asked for.
        labels: (N,) int64 in [0, len(class_names)).
        class_names: the label space.
        indices: (N,) int64, the place of each in the source.
        keys: N sha256 digests, each of an image, the codec and the transform.
        skipped: what was set aside, and why.
        report: how much came from the cache, in a sentence.
    """

    latents: Tensor
    mirrored: Tensor | None
    labels: Tensor
    class_names: tuple[str, ...]
    indices: Tensor
    keys: tuple[str, ...]
    skipped: list[Skipped] = field(default_factory=list)
    report: str = ""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def host_bytes(self) -> int:
        """What of the latents lies in memory."""
        return self.latents.nbytes + (0 if self.mirrored is None else self.mirrored.nbytes)

    @property
    def set_aside(self) -> int:
        """How many were set aside."""
        return len(self.skipped)

    def classes(self, indices: Tensor) -> Tensor:
        """The classes of items by indices (n,) int64 -> (n,) int64."""
        return self.labels[indices]

    def get(self, indices: Tensor, flip: Tensor) -> Tensor:
        """Items by indices (n,) int64, flip (n,) bool: mirrored left to right -> (n, C, H, W) float32.

        Raises:
            DataError: a mirrored item is asked of a set that was encoded without flips.
        """
        items = self.latents[indices]
        if not bool(flip.any()):
            return items
        if self.mirrored is None:
            raise DataError("mirrored items are asked for, and none were encoded; encode with flips=True")
        return torch.where(flip[:, None, None, None], self.mirrored[indices], items)

    @cached_property
    def digest(self) -> str:
        """The sha256 of what is in it: images, codec, transform, labels and their order."""
        total = hashlib.sha256("/".join(self.class_names).encode())
        for key, label in zip(self.keys, self.labels.tolist(), strict=True):
            total.update(f"{key}/{label}/".encode())
        return total.hexdigest()

    def subset(self, indices: Tensor) -> LatentSet:
        """The items that indices (n,) int64 pick; what was set aside is not repeated."""
        mirrored = None if self.mirrored is None else self.mirrored[indices]
        keys = tuple(self.keys[index] for index in indices.tolist())
        return LatentSet(
            self.latents[indices], mirrored, self.labels[indices], self.class_names, self.indices[indices], keys
        )

    @staticmethod
    def cat(parts: Sequence[LatentSet], starts: Sequence[int]) -> LatentSet:
        """The items of all parts under the classes of all, a class of the same name being one.

        Args:
            parts: at least one.
            starts: the place of each part's source in the source of all.
        """
        names = together([part.class_names for part in parts])
        rows = [torch.tensor([names.index(name) for name in part.class_names]) for part in parts]
        # Images of a part that was encoded without flips stay as they are where those of another are mirrored.
        mirrored = [part.latents if part.mirrored is None else part.mirrored for part in parts]
        return LatentSet(
            latents=torch.cat([part.latents for part in parts]),
            mirrored=None if all(part.mirrored is None for part in parts) else torch.cat(mirrored),
            labels=torch.cat([row[part.labels] for row, part in zip(rows, parts, strict=True)]),
            class_names=names,
            indices=torch.cat([part.indices + start for part, start in zip(parts, starts, strict=True)]),
            keys=tuple(key for part in parts for key in part.keys),
            skipped=[one for part in parts for one in part.skipped],
            report="; ".join(part.report for part in parts if part.report),
        )


class NothingUsableError(DataError):
    """No image of those that were asked for can be used.

    Attributes:
        skipped: all of them, and why.
    """

    def __init__(self, message: str, skipped: Sequence[Skipped]) -> None:
        super().__init__(message)
        self.skipped = tuple(skipped)


def together(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """All names of some label spaces, each once, in the order in which they come."""
    return tuple(dict.fromkeys(name for part in names for name in part))


def encode(
    source: ImageSource,
    transform: Transform,
    codec: Encoder,
    cache_dir: Path | None = None,
    flips: bool = True,
    indices: Sequence[int] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> LatentSet:
    """Encode the images of a source; those that cannot be used are set aside and listed.

    Each image is encoded on its own (with its mirror image), since the last bits of a network's output depend on what
    else is in its batch: so cached or not, in whatever company, an image has the same latents bit for bit.

    Args:
        source: the images.
        transform: to the model's size.
        codec: to latents.
        cache_dir: where latents are kept; None to keep none.
        flips: encode mirrored images too.
        indices: which images; None for all.
        progress: told after each image how many are done.

    Raises:
        NothingUsableError: no image at all can be used.
    """
    context = hashlib.sha256(f"{codec.digest()}/{transform.spec}/flips={flips}/{CACHE_VERSION}".encode()).hexdigest()
    cache = TensorCache(None if cache_dir is None else cache_dir / codec.cached_in / "latents" / context[:32])
    keys: list[str] = []
    kept: list[int] = []
    items: list[Tensor] = []
    skipped: list[Skipped] = []
    for done, index in enumerate(range(len(source)) if indices is None else indices, start=1):
        try:
            key = hashlib.sha256(f"{source.key(index)}/{context}".encode()).hexdigest()
            item = cache.get(key)
            if item is None:
                image = transform(source.read(index))
                # Mirrored before encoding: the mirror image of a latent is not the latent of a mirror image.
                views = [image, image.flip(-1)] if flips else [image]
                item = codec.encode(torch.stack(views)).float().cpu().contiguous()
                if not bool(item.isfinite().all()):
                    raise DataError(f"{source.origin(index)}: its latents are not finite")
                cache.put(key, item)
        except DataError as reason:
            skipped.append(Skipped.of(source, index, reason))
        else:
            keys.append(key)
            kept.append(index)
            items.append(item)
        progress(done)
    cache.flush()
    if not items:
        first = "; ".join(f"{one.origin}: {one.reason}" for one in skipped[:3])
        raise NothingUsableError(f"{source.name} has no image that can be used ({first or 'it is empty'})", skipped)
    stacked = torch.stack(items)
    return LatentSet(
        latents=stacked[:, 0].contiguous(),
        mirrored=stacked[:, 1].contiguous() if flips else None,
        labels=torch.tensor([source.label(index) for index in kept], dtype=torch.int64),
        class_names=source.class_names,
        indices=torch.tensor(kept, dtype=torch.int64),
        keys=tuple(keys),
        skipped=skipped,
        report=cache.report(),
    )
