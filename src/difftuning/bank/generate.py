"""Draw a bank from the pretrained model, so that a kill, a restart or an extension never changes a byte of it.

Noise and solver of item i depend on (seed, i) alone. Bytes also depend on the batch an item is computed in, because
kernels round by shape; so batches have fixed places within a shard and are always drawn whole, the last one past the
count, and what lies beyond is dropped. Several processes take turns at the shards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from difftuning.bank.card import (
    CARD,
    PLAN,
    BankCard,
    BankModel,
    BankPlan,
    Described,
    ShardEntry,
    check_matches,
    describe,
    differences,
)
from difftuning.bank.card import BankConfig as BankConfig
from difftuning.bank.card_file import read_card, read_plan, write_card
from difftuning.bank.store import (
    PATTERN,
    Shard,
    read_shard,
    remove_others,
    shard_path,
    shard_spans,
    write_shard,
)
from difftuning.compiling import CompiledBlocks
from difftuning.errors import BankError
from difftuning.processes import present
from difftuning.sampling.guidance import Model as Sampled
from difftuning.sampling.guidance import guided
from difftuning.sampling.loop import Scheduler, Spacing, sample
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.types import Condition

Progress = Callable[[int, int], None]
"""Told (items done, items in all)."""
MakeScheduler = Callable[[str, Mapping[str, Any], Spacing | None], Scheduler]
"""From a solver's name, a model's scheduler config and a spacing: `difftuning.backbones.solvers.make_scheduler`."""


class Model(Described, Sampled, Protocol):
    """What is sampled; a `difftuning.backbones.Backbone` is one."""

    @property
    def network(self) -> nn.Module:
        """Its module, put into eval mode meanwhile."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        ...


def build(
    model: Model,
    make_scheduler: MakeScheduler,
    folder: Path,
    config: BankConfig,
    clip: float | None = None,
    progress: Progress | None = None,
) -> BankCard:
    """Draw a bank, finish one that was begun, or mend a finished one.

    Shards that are there and whole stay; all others are drawn.

    Args:
        model: the pretrained model.
        make_scheduler: makes the solver.
        folder: of the bank, made when needed.
        config: how to draw.
        clip: keep x0-hat within [-clip, clip]: 1 for pixel models, None for latents.
        progress: told after each batch.

    Raises:
        BankError: the folder holds a bank of other settings or another model, or an item is not finite.
        StorageError: the disk refuses.
        ConfigError: the solver is not known or does not fit the model.
    """
    return fill(drawer(model, make_scheduler, config, clip), folder, progress)


def drawer(model: Model, make_scheduler: MakeScheduler, config: BankConfig, clip: float | None) -> Drawer:
    """What makes the items of a bank that a model draws: see `build`."""
    return Drawer(model, make_scheduler, BankPlan(model=describe(model), clip=clip, config=config, text=model.told))


def fill(maker: Maker, folder: Path, progress: Progress | None = None) -> BankCard:
    """Make the bank of a plan, from whatever makes its items: see `build`.

    Raises:
        BankError: the folder holds a bank of another plan.
        StorageError: the disk refuses.
    """
    plan, config = maker.plan, maker.plan.config
    # As the main process sees the disk: all write or draw, or none does.
    begun, has_shards = present().on_main(lambda: (read_plan(folder), folder.is_dir() and any(folder.glob(PATTERN))))
    if begun is None and has_shards:
        raise BankError(f"{folder} holds bank shards without {CARD} or {PLAN}; remove them or use another folder")
    if not isinstance(begun, BankCard) and not has_shards:
        begun = None  # a plan of which nothing has been drawn binds nobody
    if begun is not None and (found := differences(begun, plan)):
        only_more = len(found) == 1 and config.count > begun.config.count and isinstance(begun, BankCard)
        grow = f", or `difftuning bank extend` to bring it to {config.count} items" if only_more else ""
        raise BankError(
            f"the bank {folder} was begun with other settings ({'; '.join(found)}); use those{grow}, or another folder"
        )
    if begun is None:
        present().on_main(lambda: write_card(plan, folder / PLAN))
    return _finish(maker, folder, begun if isinstance(begun, BankCard) else None, progress)


def extend(
    model: Model, make_scheduler: MakeScheduler, folder: Path, count: int, progress: Progress | None = None
) -> BankCard:
    """Bring a finished bank to `count` items, with the same bytes as if it had been built with that many.

    The old bank stays whole and readable until the new card takes the place of the old one.

    Raises:
        BankError: no finished bank, another model, fewer items than there are, or an item is not finite.
        StorageError: the disk refuses.
    """
    card = read_card(folder)
    check_matches(card, model)
    if card.config.images is not None:
        raise BankError(
            f"the bank {folder} holds real images ({card.config.images}); build a larger one in another folder"
        )
    if card.origins is not None:
        raise BankError(f"the bank {folder} was composed for a phase of a stream; build a larger one by its stream")
    if count < card.config.count:
        raise BankError(f"the bank {folder} has {card.config.count} items, more than {count}; ask for more than it has")
    config = card.config.model_copy(update={"count": count})
    plan = BankPlan(model=card.model, clip=card.clip, config=config, text=card.text)
    drawer = Drawer(model, make_scheduler, plan)
    return _finish(drawer, folder, card, progress)


def labels_of(indices: Sequence[int], config: BankConfig, model: BankModel) -> Tensor:
    """What items are drawn under, (n,) int64: no condition where the model knows no classes."""
    if config.labels == "null" or config.images is not None or model.classes == 0:
        return torch.full((len(indices),), model.null_label)
    if config.labels == "balanced":
        # Each round over the classes has an order of its own.
        rounds = {index // model.classes for index in indices}
        orders = {
            number: torch.randperm(model.classes, generator=generators(config.seed, [number], "rounds")[0])
            for number in rounds
        }
        drawn = [orders[index // model.classes][index % model.classes] for index in indices]
    else:
        drawn = [torch.randint(model.classes, (), generator=one) for one in generators(config.seed, indices, "labels")]
    return torch.stack(drawn) if drawn else torch.empty(0, dtype=torch.int64)


def _finish(maker: Maker, folder: Path, before: BankCard | None, progress: Progress | None) -> BankCard:
    """Make the shards that are not there, and the card."""
    trusted = () if before is None else before.shards
    plan, known = maker.plan, {entry.file: entry for entry in trusted}
    config = plan.config

    def made(span: tuple[int, int]) -> ShardEntry:
        start, stop = span
        path = shard_path(folder, start, stop)
        shard = _whole(path, known.get(path.name), plan)
        if shard is None:
            begun = next((entry for entry in trusted if entry.start == start and entry.stop < stop), None)
            kept = _whole(folder / begun.file, begun, plan) if begun else None
            return write_shard(folder, start, maker.shard(start, stop, kept, progress))
        if progress is not None:
            progress(stop, config.count)
        size, sha256 = path.stat().st_size, shard.sha256
        return ShardEntry(file=path.name, start=start, stop=stop, bytes=size, sha256=sha256)

    entries = present().each(list(shard_spans(config.count, config.shard_size)), made)
    return present().on_main(lambda: _close(plan, folder, before, entries))


def _close(plan: BankPlan, folder: Path, before: BankCard | None, entries: list[ShardEntry]) -> BankCard:
    """Write the card of the shards, and remove what belongs to none of them."""
    if before is not None and before.shards == tuple(entries):
        card = before  # nothing was drawn, so the versions that it names still hold
    else:
        versions = {name: version(name) for name in ("difftuning", "torch", "diffusers")}
        card = BankCard(**plan.__dict__, shards=tuple(entries), versions=versions)
        write_card(card, folder / CARD)
    (folder / PLAN).unlink(missing_ok=True)
    remove_others(folder, {entry.file for entry in entries})
    return card


def _whole(path: Path, entry: ShardEntry | None, plan: BankPlan) -> Shard | None:
    """The shard in a file, or None where it is missing, damaged, or not the one that the card names."""
    try:
        shard = read_shard(path)
    except BankError:
        return None
    fits = shard.latents.shape[1:] == plan.model.sample_shape and shard.latents.dtype == plan.config.dtype
    return shard if fits and (entry is None or shard.sha256 == entry.sha256) else None


class Maker(Protocol):
    """Makes the items of a bank."""

    @property
    def plan(self) -> BankPlan:
        """What decides them."""
        ...

    def shard(self, start: int, stop: int, kept: Shard | None, progress: Progress | None, /) -> Shard:
        """Items start ... stop - 1, of which the first ones may be there already."""
        ...


class Drawer:
    """Draws items; knows nothing of files."""

    def __init__(self, model: Model, make_scheduler: MakeScheduler, plan: BankPlan) -> None:
        self.model, self.plan = model, plan
        self.scheduler = make_scheduler(plan.config.solver, model.scheduler_config, plan.config.spacing)
        config = plan.config
        guidance = config.guidance if plan.model.classes else 1.0  # under nothing there is nothing to guide
        self.denoiser = guided(model, plan.model.null_label, guidance, plan.clip, config.precision)
        self._compiled = CompiledBlocks(model.network) if config.compile else None

    def shard(self, start: int, stop: int, kept: Shard | None, progress: Progress | None, /) -> Shard:
        """Items start ... stop - 1, of which the first ones may be there already."""
        config = self.plan.config
        have = start + (0 if kept is None else len(kept))
        labels = [] if kept is None else [kept.labels]
        latents = [] if kept is None else [kept.latents]
        for first in range(start, stop, config.batch_size):
            last = min(first + config.batch_size, start + config.shard_size)
            if last <= have:
                continue
            batch = self.batch(first, last)
            fresh = slice(max(have, first) - first, min(last, stop) - first)
            labels.append(batch.labels[fresh])
            latents.append(batch.latents[fresh])
            if progress is not None:
                progress(min(last, stop), config.count)
        return Shard(np.concatenate(labels), np.concatenate(latents))

    def batch(self, first: int, last: int) -> Shard:
        """Items first ... last - 1, drawn in one go."""
        model, config, indices = self.model, self.plan.config, range(first, last)
        labels = labels_of(indices, config, self.plan.model)
        was_training = model.network.training
        model.network.eval()
        try:
            with self._compiled.inside() if self._compiled else nullcontext():
                x0 = sample(
                    self.denoiser,
                    model.process,
                    self.scheduler,
                    Condition(labels).to(model.device),
                    sample_noise(config.seed, indices, model.sample_shape).to(model.device),
                    config.steps,
                    generators(config.seed, indices),
                )
        finally:
            model.network.train(was_training)
        latents: NDArray[np.floating] = x0.to(getattr(torch, config.dtype)).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(latents).all(axis=(1, 2, 3)))
        if len(bad):
            raise BankError(
                f"item {first + int(bad[0])} of the bank is not finite as {config.dtype}, drawn by {model.name} with "
                f"{config.solver}, {config.steps} steps, guidance {config.guidance:g}; "
                "try dtype=float32, another solver or less guidance"
            )
        return Shard(labels.numpy(), latents)
