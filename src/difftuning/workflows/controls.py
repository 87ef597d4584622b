"""The controls of a run: of the target's images and, made alike, of the bank's items, with those left out that have none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.bank.read import Bank
from difftuning.data.cache import cache_folder
from difftuning.data.control_maps import (
    ControlConfig,
    ControlMaps,
    annotated,
    is_blank,
    required_annotator,
)
from difftuning.data.latents import LatentSet
from difftuning.data.target import Target
from difftuning.data.target_maps import target_maps
from difftuning.errors import BankError
from difftuning.types import Condition
from difftuning.workflows.drawing import DECODED, images_of


@dataclass(frozen=True)
class Controls:
    """The maps of a target.

    Attributes:
        config: of the control.
        train: of `target.train`, item by item.
        heldout: of `target.heldout`.
    """

    config: ControlConfig
    train: ControlMaps
    heldout: ControlMaps


def with_controls(config: ControlConfig, target: Target) -> tuple[Target, Controls]:
    """The target, which is no stream, without the images that have no usable map, and the maps of the others.

    Raises:
        ConfigError: the annotator cannot be had.
        DataError: no image has a usable map.
    """
    parts: list[LatentSet] = []
    maps: list[ControlMaps] = []
    for part in (target.train, target.heldout):
        assert isinstance(part, LatentSet)
        indices, most = part.indices.tolist(), target.config.max_pixels
        made, kept, skipped = target_maps(config, target.source, target.transform, indices, most, cache_folder())
        chosen = replace(part.subset(torch.tensor(kept)), skipped=[*part.skipped, *skipped], report=part.report)
        parts.append(chosen)
        maps.append(made)
    train, heldout = parts
    return replace(target, train=train, heldout=heldout), Controls(config, *maps)


@dataclass(frozen=True)
class ControlledBank:
    """The items of a bank that have a usable map, and their maps. It is a `difftuning.bank.mix.BankItems`.

    Attributes:
        bank: all items.
        kept: (n,) int64, those with a map.
        maps: of them.
    """

    bank: Bank
    kept: Tensor
    maps: ControlMaps

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def digest(self) -> str:
        """The sha256 of items and maps."""
        return hashlib.sha256(f"{self.bank.digest}/{self.maps.digest}".encode()).hexdigest()

    def get(self, indices: Tensor) -> Tensor:
        """Items by indices (n,) int64 among those kept."""
        return self.bank.get(self.kept[indices])

    def labels(self, indices: Tensor) -> Tensor:
        """What items by indices (n,) int64 among those kept were drawn under."""
        return self.bank.labels(self.kept[indices])

    def left_out(self) -> str | None:
        """What was left out, in one line; None where nothing was."""
        count, of = len(self.bank) - len(self.kept), f"{len(self.bank)} items of the bank {self.bank.folder}"
        return f"{count} of {of} have a {self.maps.kind} map of one value all over, and are left out" if count else None


def controlled_bank(config: ControlConfig, bank: Bank, backbone: Backbone) -> ControlledBank:
    """The items of a bank with the maps that the annotator makes of their images.

    Raises:
        BankError: none of them has a usable map.
        ConfigError: the annotator cannot be had.
    """
    annotator, codec = required_annotator(config), backbone.codec.digest()
    keys: list[str] = []
    for start in range(0, len(bank), DECODED):
        for item in bank.get(torch.arange(start, min(start + DECODED, len(bank)))):
            keys.append(hashlib.sha256(item.numpy().tobytes() + codec.encode()).hexdigest())
    pictures = Decoded(bank, backbone)
    maps = annotated(annotator, config.kind, keys, pictures.image, cache_folder() / backbone.codec.cached_in)
    kept = torch.tensor([place for place, one in enumerate(maps.encoded) if not is_blank(one)], dtype=torch.int64)
    if not len(kept):
        raise BankError(
            f"every item of the bank {bank.folder} has an empty {config.kind} map; look at what it was drawn from"
        )
    return ControlledBank(bank, kept, maps.subset(kept))


BankItems = Bank | ControlledBank
"""What training reads of a bank: all of it, or what has a map, with that."""


def items_of(bank: Bank, config: ControlConfig | None, backbone: Backbone) -> BankItems:
    """The items of a bank as a recipe with or without a control reads them.

    Raises:
        BankError: see `controlled_bank`.
        ConfigError: see there.
    """
    return bank if config is None else controlled_bank(config, bank, backbone)


def default_condition(items: BankItems, indices: Tensor, backbone: Backbone) -> Condition:
    """What bank items by indices (n,) int64 train under: the default condition, with their own maps; on the model's device."""
    condition = backbone.default_condition(len(indices))
    if isinstance(items, ControlledBank):
        condition = replace(condition, control=items.maps.get(indices).to(backbone.device))
    return condition


class Decoded:
    """Images of bank items, decoded a few at a time.

    Always the same few together, since the last bits of what an autoencoder answers depend on what is in its batch.
    """

    def __init__(self, bank: Bank, backbone: Backbone) -> None:
        self.bank, self.backbone = bank, backbone
        self._start, self._images = -1, torch.empty(0)

    def image(self, index: int) -> Tensor:
        """(3, S, S) uint8."""
        start = index - index % DECODED
        if start != self._start:
            there = torch.arange(start, min(start + DECODED, len(self.bank)))
            self._start, self._images = start, images_of(self.backbone, self.bank.get(there))
        return self._images[index - start]


@dataclass(frozen=True)
class UnderMaps:
    """Conditions whose maps are decoded when they are asked for. It is a `difftuning.workflows.drawing.Conditions`.

    Attributes:
        labels: (N,) int64.
        maps: of the control.
        places: (N,) int64, the map of each.
    """

    labels: Tensor
    maps: ControlMaps
    places: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice) -> Condition:
        """Some of them."""
        return Condition(self.labels[index], self.maps.get(self.places[index]))
