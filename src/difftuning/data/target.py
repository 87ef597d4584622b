"""The target of a run: its images as latents, split once and for all; several as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from difftuning.data import fitted
from difftuning.data.base import ImageSource, Skipped
from difftuning.data.joined import Joined
from difftuning.data.latent_files import LatentFiles
from difftuning.data.latents import LatentSet
from difftuning.data.prompted import Prompted
from difftuning.data.sources import DataConfig, needs_all
from difftuning.data.splits import Split
from difftuning.data.transforms import Transform

_SHOWN = 10
"""Set-aside files that a report names."""


@dataclass(frozen=True)
class Target:
    """A split target.

    Attributes:
        config: what it was opened with.
        source: the images themselves; of a streamed set those pictures that were kept.
        parts: which of them are for what.
        train: latents to train on, with mirrored ones if the config flips.
        heldout: latents to measure the error on.
        unread: what could not even be split.
        transform: to the model's size.
        prompted: the images under prompts; None where the model is asked under classes.
    """

    config: DataConfig
    source: ImageSource
    parts: Split
    train: LatentSet | LatentFiles
    heldout: LatentSet
    unread: tuple[Skipped, ...]
    transform: Transform
    prompted: Prompted | None
    _encode: Callable[[tuple[int, ...], bool], LatentSet]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The label space: classes, or prompts."""
        return self.train.class_names

    @property
    def trained_classes(self) -> Tensor:
        """The classes of `class_names` that are trained on, ascending: not those without an image, or of sets measured alone."""
        if isinstance(self.train, LatentFiles):  # of millions, which are not looked through
            return torch.arange(len(self.class_names))
        trained: Tensor = torch.unique(self.train.classes(torch.arange(len(self.train))))
        return trained

    @property
    def skipped(self) -> list[Skipped]:
        """All that was set aside, and why."""
        return [*self.unread, *self.train.skipped, *self.heldout.skipped]

    @property
    def set_aside(self) -> int:
        """How many images were set aside; `skipped` names all of them, or of a streamed set a few."""
        return len(self.unread) + self.train.set_aside + self.heldout.set_aside

    def pictures(self, part: LatentSet | LatentFiles, most: int | None = None) -> Tensor:
        """The images of a part at the model's size, (N, 3, S, S) uint8, as they are and not as a codec gives them back.

        Of a streamed set they are those that were kept.

        Args:
            part: `train`, `heldout` or `test`.
            most: take no more than so many, spread over the part; None for all.
        """
        there = len(part.indices)
        count = there if most is None else min(most, there)
        chosen = part.indices[torch.linspace(0, there - 1, count, dtype=torch.float64).long()]
        return torch.stack([self.transform.pixels(self.source.read(index)) for index in chosen.tolist()])

    @cached_property
    def test(self) -> LatentSet | None:
        """The images that a few-shot split leaves over, encoded when first asked for; None where there are none."""
        return self._encode(self.parts.test, False) if self.parts.test else None

    def report(self) -> list[str]:
        """How many images there are for what, what came from the cache, and what was set aside and why."""
        names = self.source.class_names
        classes, spare = len(names), len(self.parts.test)
        count = len(self.source) if isinstance(self.train, LatentSet) else len(self.train) + len(self.heldout)
        lines = [
            f"{self.source.name}: {count} images in {classes} class(es); {len(self.train)} to train on, "
            f"{len(self.heldout)} held out, {spare} for tests",
            *self.source.notes,
            *fitted.report(self.source, [*self.parts.train, *self.parts.heldout], self.transform.size),
            f"latents: {self.train.report}" + (f"; held out: {self.heldout.report}"),
        ]
        if self.prompted is not None:
            lines.append(self.prompted.report(self.train.classes(torch.arange(min(3, len(self.train)))).tolist()))
        wanted = self.config.per_class
        if wanted is not None:
            found = Counter(map(self.source.label, self.train.indices.tolist()))
            short = [f"{name} ({found[k]})" for k, name in enumerate(names) if found[k] < wanted]
            if short:
                lines.append(f"fewer than the {wanted} images asked for in: {', '.join(short)}")
        tested = set(map(self.source.label, self.heldout.indices.tolist()))
        untested = [name for k, name in enumerate(names) if k not in tested]
        if untested:
            lines.append(f"no held-out image, so no error is measured, for: {', '.join(untested[:_SHOWN])}")
        if self.skipped:
            lines.append(f"set aside {self.set_aside} file(s):")
            lines += [f"  {one.origin}: {one.reason}" for one in self.skipped[:_SHOWN]]
        if self.set_aside > _SHOWN:
            lines.append(f"  and {self.set_aside - _SHOWN} more")
        return lines


def _without(target: Target, keys: set[str]) -> Target:
    """A target that trains on none of the images of these keys."""
    # By content: the keys of latents tell of more than that.
    kept = tuple(index for index in target.train.indices.tolist() if target.source.key(index) not in keys)
    return target if len(kept) == len(target.train) else keeping(target, kept)


def keeping(target: Target, kept: tuple[int, ...]) -> Target:
    """A target that trains on these of its images alone, told by their index in the source."""
    train = target.train
    assert isinstance(train, LatentSet)
    stays = {*kept}
    places = [place for place, index in enumerate(train.indices.tolist()) if index in stays]
    chosen = train.subset(torch.tensor(places, dtype=torch.int64))
    gone = {*train.indices.tolist()} - stays
    parts = replace(target.parts, train=tuple(index for index in target.parts.train if index not in gone))
    return replace(target, train=replace(chosen, skipped=train.skipped), parts=parts)


def join(targets: Sequence[Target]) -> Target:
    """One target of several: what is held out of each stays held out, and no copy of it in another is trained on.

    The first one's config and transform stand for all.

    Args:
        targets: at least one, all for one model.

    Raises:
        DataError: one is streamed.
    """
    for target in targets:
        needs_all(target.config, "a joint target")
    held = {target.source.key(index) for target in targets for index in target.heldout.indices.tolist()}
    targets = [_without(target, held) for target in targets]
    source = Joined([target.source for target in targets])
    starts = source.starts[:-1]
    pairs = list(zip(targets, starts, strict=True))
    train, heldout, test = (
        tuple(index + start for target, start in pairs for index in getattr(target.parts, part))
        for part in ("train", "heldout", "test")
    )

    def tested(indices: tuple[int, ...], flips: bool) -> LatentSet:
        there = [(target.test, start) for target, start in pairs if target.test is not None]
        return LatentSet.cat([part for part, _ in there], [start for _, start in there])

    return replace(
        targets[0],
        source=source,
        parts=Split(train, heldout, test),
        train=LatentSet.cat([target.train for target in targets if isinstance(target.train, LatentSet)], starts),
        heldout=LatentSet.cat([target.heldout for target in targets], starts),
        unread=tuple(one for target in targets for one in target.unread),
        _encode=tested,
    )
