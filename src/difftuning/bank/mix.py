"""A draw and two streams become one batch: retention from the bank, reconsolidation from the target (Eq. 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from difftuning.errors import BankError
from difftuning.types import Batch, Condition, Draw


class TargetItems(Protocol):
    """The target; a `difftuning.data.latents.LatentSet` is one, and a `difftuning.data.latent_files.LatentFiles`."""

    def classes(self, indices: Tensor) -> Tensor:
        """The classes of items by indices (n,) int64 -> (n,) int64."""
        ...

    def get(self, indices: Tensor, flip: Tensor) -> Tensor:
        """Items by indices (n,) int64, flip (n,) bool: mirrored left to right -> (n, C, H, W) float32."""
        ...


class BankItems(Protocol):
    """The bank; a `difftuning.bank.read.Bank` is one."""

    def get(self, indices: Tensor) -> Tensor:
        """Items by indices (n,) int64 -> (n, C, H, W) float32."""
        ...


class ControlItems(Protocol):
    """The control maps of a stream; a `difftuning.data.control_maps.ControlMaps` is one."""

    def get(self, indices: Tensor, flip: Tensor | None = None) -> Tensor:
        """Maps by indices (n,) int64, flip (n,) bool: mirrored left to right -> (n, K, S, S) float32 in [0, 1]."""
        ...


class Positions(Protocol):
    """An endless order of items; a `difftuning.data.order.Order` is one."""

    def indices(self, start: int, count: int) -> Tensor:
        """The items at positions start ... start + count - 1, (count,) int64."""
        ...


@dataclass(frozen=True)
class TwoStreams:
    """The two streams that batches are made of, each in an order of its own.

    Attributes:
        target: the target's items.
        target_order: over all of them.
        rows: (K,) int64, the row of the model's class table for each class of the target.
        null_label: the row for "no condition", of dropped labels.
        label_dropout: in [0, 1], the share of target labels that become the null label.
        flip: mirror half of the target's items. Bank items are taken as they are: mirrored latents are not latents.
        bank: the knowledge bank, None for standard fine-tuning.
        bank_order: over all of it.
        retention_labels: in [0, 1], the share of bank items that come under a random one of `label_rows`.
        label_rows: (n,) int64, the rows of the classes that are trained; None for all of `rows`.
        default_label: the row of bank items: the default condition; None for the null label.
        bank_rows: (N,) int64, a row for each bank item in the place of the default one, from which labels are dropped as from those
            of the target; None for the default one.
        target_maps: the target's control maps, item by item; None where there are no controls.
        bank_maps: the bank's.
    """

    target: TargetItems
    target_order: Positions
    rows: Tensor
    null_label: int
    label_dropout: float
    flip: bool
    bank: BankItems | None = None
    bank_order: Positions | None = None
    retention_labels: float = 0.0
    label_rows: Tensor | None = None
    default_label: int | None = None
    bank_rows: Tensor | None = None
    target_maps: ControlItems | None = None
    bank_maps: ControlItems | None = None

    def batch(
        self,
        draw: Draw,
        target_position: int,
        bank_position: int,
        generator: torch.Generator,
        part: slice = slice(None),
    ) -> Batch:
        """Fill a draw, or a part of it; a pure function of its arguments.

        Every slot takes the same number of random values whatever its source, so a slot has the same noise in runs that
        differ in their coefficients only.

        Args:
            draw: B times and sources, on the CPU.
            target_position: target items used before.
            bank_position: bank items used before.
            generator: of this step; it moves on.
            part: which slots of the draw; they are filled as they are among all, and no other items are read.

        Raises:
            BankError: the draw asks for bank items and there is no bank.
        """
        whole, size = draw, len(draw)
        drop = (torch.rand(size, generator=generator) < self.label_dropout)[part]
        mirror = ((torch.rand(size, generator=generator) < 0.5) & self.flip)[part]
        before, draw = draw[: range(size)[part].start], draw[part]
        bank_position += (skipped := int(before.from_bank.sum()))
        target_position += len(before) - skipped
        from_bank, from_target = draw.from_bank, ~draw.from_bank
        labels = torch.full((len(draw),), self.null_label if self.default_label is None else self.default_label)
        parts: list[tuple[Tensor, Tensor]] = []
        controls: list[tuple[Tensor, Tensor]] = []
        if bool(from_target.any()):
            indices = self.target_order.indices(target_position, int(from_target.sum()))
            parts.append((from_target, self.target.get(indices, mirror[from_target])))
            labels[from_target] = self.rows[self.target.classes(indices)]
            labels[drop & from_target] = self.null_label
            if self.target_maps is not None:
                controls.append((from_target, self.target_maps.get(indices, mirror[from_target])))
        if bool(from_bank.any()):
            if self.bank is None or self.bank_order is None:
                raise BankError(
                    "the coefficients ask for bank items and there is no bank; build one, or set tau=0 to need none"
                )
            indices = self.bank_order.indices(bank_position, int(from_bank.sum()))
            parts.append((from_bank, self.bank.get(indices)))
            if self.bank_rows is not None:
                labels[from_bank] = self.bank_rows[indices]
                labels[drop & from_bank] = self.null_label
            if self.bank_maps is not None:
                controls.append((from_bank, self.bank_maps.get(indices)))
        x0 = _joined(parts)
        noise = torch.randn(size, *x0.shape[1:], generator=generator)[part]
        if self.retention_labels > 0:  # after the noise, so that it is the same with and without
            rows = self.rows if self.label_rows is None else self.label_rows
            under = rows[torch.randint(len(rows), (size,), generator=generator)][part]
            labelled = from_bank & (torch.rand(size, generator=generator) < self.retention_labels)[part]
            labels = torch.where(labelled, under, labels)
        condition = Condition(labels, _joined(controls) if controls else None)
        return Batch(x0, noise, condition, draw, whole if len(draw) < size else None)


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The items of each part, at the places of a batch that are its."""
    joined = torch.empty(len(parts[0][0]), *parts[0][1].shape[1:])
    for where, items in parts:
        joined[where] = items
    return joined


def coverage(used: int, length: int) -> float:
    """The share of a stream's items seen at least once after `used` positions, in [0, 1].

    An order is one permutation after the other, so nothing comes twice before everything came once.
    """
    return min(used, length) / length
