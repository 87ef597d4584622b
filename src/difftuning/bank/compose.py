"""A bank of two parts: the first items of an earlier bank, copied, and items that the current model draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from difftuning.bank.card import BankCard, BankConfig, BankPlan, describe
from difftuning.bank.card_file import read_card
from difftuning.bank.generate import Drawer, MakeScheduler, Model, Progress, fill
from difftuning.bank.origin import Origin
from difftuning.bank.store import Shard, read_shard
from difftuning.errors import BankError


class Composer:
    """Copies the first items and draws the others, each at the place that it has in a bank of its own model.

    So a drawn item is the one that a whole bank of the current model would hold there, and the copied ones are, like any first
    items of a bank, a random choice of all kinds.

    Attributes:
        plan: of the composed bank; it says of every item which model drew it.

    Args:
        model: the current one.
        make_scheduler: makes its solver.
        source: the finished bank that items are copied from.
        keep: how many.
        config: of the composed bank, whose `count` covers the copied items.
        clip: see `difftuning.bank.generate.build`.

    Raises:
        BankError: the source has fewer items, or items of another shape.
    """

    def __init__(
        self,
        model: Model,
        make_scheduler: MakeScheduler,
        source: Path,
        keep: int,
        config: BankConfig,
        clip: float | None,
    ) -> None:
        card = read_card(source)
        if card.config.count < keep:
            raise BankError(f"the bank {source} has {card.config.count} items, fewer than the {keep} to be kept of it")
        if card.model.sample_shape != model.sample_shape:
            raise BankError(
                f"the items of {source} are {card.model.sample_shape}, and those of {model.name} {model.sample_shape}; "
                "a stream keeps one size throughout"
            )
        self._source, self._card, self._keep = source, card, keep
        self.plan = BankPlan(
            model=describe(model), clip=clip, config=config, text=model.told, origins=origins_of(card, keep) or None
        )
        self._drawer = Drawer(model, make_scheduler, self.plan)

    def shard(self, start: int, stop: int, kept: Shard | None, progress: Progress | None, /) -> Shard:
        """Items start ... stop - 1."""
        if start >= self._keep:
            return self._drawer.shard(start, stop, None, progress)
        copied = self._copied(start, min(stop, self._keep))
        if progress is not None:
            progress(start + len(copied), self.plan.config.count)
        return copied if len(copied) == stop - start else self._drawer.shard(start, stop, copied, progress)

    def _copied(self, start: int, stop: int) -> Shard:
        """Items of the source, verified against the digests of its card."""
        labels, latents = [], []
        for entry in self._card.shards:
            if entry.start < stop and start < entry.stop:
                shard = read_shard(self._source / entry.file)
                if shard.sha256 != entry.sha256:
                    raise BankError(
                        f"{self._source / entry.file} is whole but not the file that the card of its bank names"
                    )
                part = slice(max(start, entry.start) - entry.start, min(stop, entry.stop) - entry.start)
                labels.append(shard.labels[part])
                latents.append(shard.latents[part])
        return Shard(np.concatenate(labels), np.concatenate(latents).astype(self.plan.config.dtype))


def origins_of(card: BankCard, keep: int) -> tuple[Origin, ...]:
    """Where the first `keep` items of a bank come from, for whoever copies them."""
    bank = card.digest()
    drawn = Origin(stop=card.config.count, model=card.model.digest, bank=bank)
    found: list[Origin] = []
    for part in (*(card.origins or ()), drawn):
        if (found[-1].stop if found else 0) < keep:
            found.append(part.model_copy(update={"stop": min(part.stop, keep)}))
    return tuple(found)


def compose(
    model: Model,
    make_scheduler: MakeScheduler,
    folder: Path,
    source: Path,
    keep: int,
    config: BankConfig,
    clip: float | None = None,
    progress: Progress | None = None,
) -> BankCard:
    """Compose a bank, finish one that was begun, or mend a finished one: see `Composer` and `difftuning.bank.generate.fill`."""
    return fill(Composer(model, make_scheduler, source, keep, config, clip), folder, progress)
