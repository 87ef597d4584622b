"""A draw and two streams become one batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from difftuning.bank.mix import TwoStreams, coverage
from difftuning.errors import BankError
from difftuning.types import Draw

NULL = 9
ROWS = torch.tensor([5, 2, 7])


@dataclass
class Numbered:
    """Items in memory whose left pixel is their number (plus `offset`) and whose right pixel is -1."""

    length: int
    offset: int = 0

    def classes(self, indices: Tensor) -> Tensor:
        """Three classes in turn."""
        return indices % 3

    def get(self, indices: Tensor, flip: Tensor | None = None) -> Tensor:
        """(n, 1, 1, 2)."""
        items = torch.stack([indices + self.offset, torch.full_like(indices, -1)], 1).float()[:, None, None]
        return items if flip is None else torch.where(flip[:, None, None, None], items.flip(-1), items)


@dataclass
class Epochs:
    """One permutation after the other."""

    seed: int
    length: int

    def indices(self, start: int, count: int) -> Tensor:
        """The items at positions start ... start + count - 1."""
        positions = range(start, start + count)
        epochs = {
            epoch: torch.randperm(self.length, generator=torch.Generator().manual_seed(self.seed + epoch))
            for epoch in {position // self.length for position in positions}
        }
        return torch.tensor([int(epochs[p // self.length][p % self.length]) for p in positions], dtype=torch.int64)


STREAMS = TwoStreams(
    target=Numbered(30),
    target_order=Epochs(1, 30),
    rows=ROWS,
    null_label=NULL,
    label_dropout=0.1,
    flip=True,
    bank=Numbered(50, offset=1000),
    bank_order=Epochs(2, 50),
)


def draw(from_bank: Tensor) -> Draw:
    """A draw with these sources."""
    ones = torch.ones(len(from_bank))
    return Draw(ones, ones, from_bank, ones)


def generator(seed: int) -> torch.Generator:
    """A step's generator."""
    return torch.Generator().manual_seed(seed)


def sources(seed: int, size: int = 64) -> Tensor:
    """Each item from the bank with probability .4."""
    return torch.rand(size, generator=generator(seed)) < 0.4


def test_slots_hold_what_the_draw_says_in_the_order_of_each_stream() -> None:
    from_bank = sources(0)
    batch = replace(STREAMS, flip=False).batch(draw(from_bank), 7, 11, generator(5))
    numbers = batch.x0[:, 0, 0, 0].long()
    bank = int(from_bank.sum())
    assert torch.equal(numbers[from_bank] - 1000, Epochs(2, 50).indices(11, bank))
    assert torch.equal(numbers[~from_bank], Epochs(1, 30).indices(7, 64 - bank))
    labels = batch.condition.labels
    assert bool((labels[from_bank] == NULL).all())
    kept = ~from_bank & (labels != NULL)
    assert torch.equal(labels[kept], ROWS[numbers[kept] % 3])


def test_a_share_of_the_bank_comes_under_the_classes_of_the_target_and_nothing_else_changes() -> None:
    size, share = 40_000, 0.3
    from_bank = sources(0, size)
    plain = STREAMS.batch(draw(from_bank), 0, 0, generator(5))
    batch = replace(STREAMS, retention_labels=share).batch(draw(from_bank), 0, 0, generator(5))
    assert torch.equal(batch.x0, plain.x0)
    assert torch.equal(batch.noise, plain.noise)
    before, labels = plain.condition.labels, batch.condition.labels
    assert torch.equal(labels[~from_bank], before[~from_bank])
    assert bool((before[from_bank] == NULL).all())
    spread = math.sqrt(share * (1 - share) / int(from_bank.sum()))
    assert float((labels[from_bank] != NULL).float().mean()) == pytest.approx(share, abs=4 * spread)
    for row in ROWS:
        assert float((labels[from_bank] == row).float().mean()) == pytest.approx(share / 3, abs=4 * spread)
    fewer = replace(STREAMS, retention_labels=share, label_rows=ROWS[:2]).batch(draw(from_bank), 0, 0, generator(5))
    assert set(fewer.condition.labels[from_bank].tolist()) == {NULL, *ROWS[:2].tolist()}


def test_bank_items_come_under_rows_of_their_own_of_which_some_are_dropped_and_nothing_else_changes() -> None:
    size, rows = 40_000, torch.arange(50) % 4
    from_bank = sources(0, size)
    plain = STREAMS.batch(draw(from_bank), 0, 0, generator(5))
    batch = replace(STREAMS, bank_rows=rows).batch(draw(from_bank), 0, 0, generator(5))
    assert torch.equal(batch.x0, plain.x0)
    assert torch.equal(batch.noise, plain.noise)
    labels = batch.condition.labels
    assert torch.equal(labels[~from_bank], plain.condition.labels[~from_bank])
    dropped = float((labels[from_bank] == NULL).float().mean())
    assert dropped == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / int(from_bank.sum())))
    kept = from_bank & (labels != NULL)
    assert torch.equal(labels[kept], rows[(batch.x0[kept, 0, 0, 0] - 1000).long()])


def test_a_batch_is_a_function_of_its_arguments() -> None:
    first, again = (STREAMS.batch(draw(sources(0)), 7, 11, generator(5)) for _ in range(2))
    assert torch.equal(first.x0, again.x0)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.condition.labels, again.condition.labels)
    other = STREAMS.batch(draw(sources(0)), 7, 11, generator(6))
    assert not torch.equal(first.noise, other.noise)


def test_a_slot_has_the_same_noise_whatever_its_source() -> None:
    mixed = STREAMS.batch(draw(sources(0)), 0, 0, generator(5))
    target = replace(STREAMS, bank=None).batch(draw(torch.zeros(64, dtype=torch.bool)), 0, 0, generator(5))
    assert torch.equal(mixed.noise, target.noise)


def test_each_item_comes_with_its_own_map_mirrored_as_it_is() -> None:
    streams = replace(STREAMS, target_maps=Numbered(30, offset=500), bank_maps=Numbered(50, offset=1500))
    batch = streams.batch(draw(sources(0)), 7, 11, generator(5))
    mirrored = batch.x0[:, 0, 0, 0] == -1
    assert 0 < int(mirrored.sum()) < int((~sources(0)).sum())
    control = batch.condition.control
    assert control is not None
    assert torch.equal(control, torch.where(batch.x0 == -1, batch.x0, batch.x0 + 500))
    part = streams.batch(draw(sources(0)), 7, 11, generator(5), slice(16, 40))
    assert part.condition.control is not None
    assert torch.equal(part.condition.control, control[16:40])


def test_shares_of_dropped_labels_flips_and_sources() -> None:
    dropped = flipped = target = 0
    position = (0, 0)
    used: set[int] = set()
    steps = 300
    for step in range(steps):
        from_bank = sources(step)
        batch = STREAMS.batch(draw(from_bank), *position, generator(10_000 + step))
        position = (position[0] + int((~from_bank).sum()), position[1] + int(from_bank.sum()))
        dropped += int((batch.condition.labels[~from_bank] == NULL).sum())
        flipped += int((batch.x0[~from_bank, 0, 0, 0] == -1).sum())
        target += int((~from_bank).sum())
        assert bool((batch.x0[from_bank, 0, 0, 1] == -1).all())  # the bank is never mirrored
        used |= set((batch.x0[from_bank, 0, 0, 0] - 1000).long().tolist())
        assert len(used) / 50 == pytest.approx(coverage(position[1], 50))
    for count, share in ((dropped, 0.1), (flipped, 0.5)):
        assert abs(count / target - share) < 4 * math.sqrt(share * (1 - share) / target)


def test_noise_is_standard_normal() -> None:
    noise = torch.cat([STREAMS.batch(draw(sources(step)), 0, 0, generator(step)).noise for step in range(100)])
    count = noise.numel()
    assert abs(float(noise.mean())) < 4 / math.sqrt(count)
    assert abs(float(noise.var()) - 1) < 4 * math.sqrt(2 / count)


@pytest.mark.parametrize("all_bank", [True, False])
def test_one_source_alone(all_bank: bool) -> None:
    batch = replace(STREAMS, label_dropout=0).batch(draw(torch.full((8,), all_bank)), 0, 0, generator(0))
    assert bool((batch.condition.labels == NULL).all()) is all_bank
    assert bool((batch.x0.amax((1, 2, 3)) >= 1000).all()) is all_bank


def test_bank_items_asked_for_without_a_bank() -> None:
    with pytest.raises(BankError, match="there is no bank"):
        replace(STREAMS, bank=None).batch(draw(sources(0)), 0, 0, generator(0))


def test_coverage_of_every_epoch() -> None:
    assert [coverage(used, 50) for used in (0, 25, 50, 120)] == [0, 0.5, 1, 1]
    for used in (0, 13, 50, 77):
        assert len(set(Epochs(2, 50).indices(0, used).tolist())) / 50 == coverage(used, 50)
