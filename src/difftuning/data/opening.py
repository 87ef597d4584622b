"""Opening a target: its images are found, split by what is in them, and encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from difftuning.data.base import ImageSource, Skipped
from difftuning.data.cache import cache_folder
from difftuning.data.latents import Encoder, LatentSet, NothingUsableError, encode
from difftuning.data.prompted import Prompted
from difftuning.data.sources import DataConfig, is_streamed, needs_all, open_source
from difftuning.data.splits import Split, split
from difftuning.data.streamed import open_streamed
from difftuning.data.target import Target, join, keeping
from difftuning.data.transforms import Transform
from difftuning.errors import DataError
from difftuning.processes import present

_SHOWN = 10
"""Set-aside files that an error names."""


def open_target(
    config: DataConfig,
    image_size: int,
    codec: Encoder,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    by_prompt: bool = False,
) -> Target:
    """Open, split and encode a target. The split looks at content alone, so moved or renamed files change nothing.

    Args:
        config: which images.
        image_size: the side of the model's images in pixels.
        codec: the model's.
        cache_dir: where latents are kept; None for the user's cache folder.
        progress: told after each image how many of how many are encoded.
        by_prompt: the model is asked under prompts, so each image gets one; it is split by its classes all the same.

    Raises:
        DataError: there is no such target, or too few usable images.
    """
    if config.also:
        further = (DataConfig(**one.model_dump(exclude={"measure_only"})) for one in config.also)
        sets = (config.model_copy(update={"also": None}), *further)
        for one in sets:  # before hours go into the encoding of one of them
            needs_all(one, "data.also")
        first, *others = (open_target(one, image_size, codec, cache_dir, progress, by_prompt) for one in sets)
        others = [
            keeping(other, ()) if one.measure_only else other for other, one in zip(others, config.also, strict=True)
        ]
        return replace(join([first, *others]), config=config)
    cache = cache_dir or cache_folder()
    transform = Transform(image_size)
    if is_streamed(config):
        read = open_streamed(config, image_size, codec, cache, progress, by_prompt)
        none = read.heldout.subset(torch.tensor([], dtype=torch.int64))
        nothing = Split((), (), ())
        return Target(
            config, read.source, nothing, read.train, read.heldout, (), transform, None, lambda indices, flips: none
        )
    source = open_source(config, image_size, cache)
    prompted = Prompted(source, config.prompt) if by_prompt else None
    encoded = partial(_encoded, prompted or source, transform, codec, cache)
    readable, unread = _readable(source)
    while True:
        parts = _split(source, config, readable, unread)
        total = len(parts.train) + len(parts.heldout)
        made: list[LatentSet] = []
        for part, flips, before in ((parts.train, config.flip, 0), (parts.heldout, False, len(parts.train))):
            try:
                made.append(encoded(part, flips, partial(_further, progress, before, total)))
                unread += made[-1].skipped
            except NothingUsableError as nothing_usable:
                unread += nothing_usable.skipped
        missing = {*parts.train, *parts.heldout}.difference(*(part.indices.tolist() for part in made))
        if not missing:
            train, heldout = made
            return Target(config, source, parts, train, heldout, tuple(unread), transform, prompted, encoded)
        # The next ones take the places of those that turned out to be no images.
        readable = {index: key for index, key in readable.items() if index not in missing}


def _further(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _readable(source: ImageSource) -> tuple[dict[int, str], list[Skipped]]:
    """The images whose content can be read, with their keys, and those that cannot."""
    readable, unread = {}, list(source.skipped)
    for index in range(len(source)):
        try:
            readable[index] = source.key(index)
        except DataError as reason:
            unread.append(Skipped.of(source, index, reason))
    return readable, unread


def _split(source: ImageSource, config: DataConfig, readable: Mapping[int, str], unread: Sequence[Skipped]) -> Split:
    """Which of the readable images are for what.

    Raises:
        DataError: they are too few; it tells what was set aside.
    """
    indices = list(readable)
    grouped = source.grouped or config.group_column is not None
    groups = [source.group(index) for index in indices] if grouped else None
    labels = [source.label(index) for index in indices]
    wanted = config.heldout, config.per_class, config.seed, source.name
    try:
        found = split(list(readable.values()), labels, *wanted, groups)
    except DataError as few:
        # So few that each may be looked at: say which of them are no images at all.
        spoiled = [*unread, *_unusable(source, indices)]
        named = "; ".join(f"{one.origin}: {one.reason}" for one in spoiled[:_SHOWN])
        raise DataError(f"{few}. Set aside: {named}" if spoiled else str(few)) from few
    return Split(*(tuple(indices[place] for place in part) for part in (found.train, found.heldout, found.test)))


def _unusable(source: ImageSource, indices: list[int]) -> list[Skipped]:
    """Those of some images that cannot be decoded, and why."""
    found = []
    for index in indices:
        try:
            source.read(index)
        except DataError as reason:
            found.append(Skipped.of(source, index, reason))
    return found


def _encoded(
    labelled: ImageSource,
    transform: Transform,
    codec: Encoder,
    cache: Path,
    indices: tuple[int, ...],
    flips: bool,
    tell: Callable[[int], None] = lambda done: None,
) -> LatentSet:
    """The latents of some images; of several processes each puts its part into the cache, out of which all take the whole."""
    if (processes := present()).count > 1:
        with suppress(DataError):
            encode(labelled, transform, codec, cache, flips, indices[processes.rows(len(indices))])
        processes.gather(None)
    return encode(labelled, transform, codec, cache, flips, indices, tell)
