"""A bank of real images of the source domain, in the place of drawn ones (Fig. 6d of the paper compares the two)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from difftuning.backbones.base import Backbone
from difftuning.bank.card import BankConfig, BankPlan, describe
from difftuning.bank.generate import Progress
from difftuning.bank.store import Shard
from difftuning.data.base import ImageSource
from difftuning.data.cache import cache_folder
from difftuning.data.latents import encode
from difftuning.data.sources import DataConfig, open_source
from difftuning.data.transforms import Transform
from difftuning.errors import BankError, DataError
from difftuning.workflows.heldout import BANK_ITEMS


class SourceImages:
    """Encodes a random choice of images; knows nothing of files.

    Attributes:
        plan: of the bank; it names the content of the chosen images.
    """

    def __init__(self, source: ImageSource, backbone: Backbone, config: BankConfig, chosen: Sequence[int]) -> None:
        """Of the images `chosen` in a source, in that order."""
        content = hashlib.sha256("/".join(source.key(index) for index in chosen).encode())
        self.source, self.backbone, self.chosen = source, backbone, chosen
        self.plan = BankPlan(model=describe(backbone), clip=None, config=config, images=content.hexdigest())

    def shard(self, start: int, stop: int, kept: Shard | None, progress: Progress | None, /) -> Shard:
        """Items start ... stop - 1.

        Raises:
            BankError: one of the images cannot be used.
        """
        model, config = self.plan.model, self.plan.config
        found = encode(
            self.source,
            Transform(self.backbone.image_size),
            self.backbone.codec,
            flips=False,
            indices=self.chosen[start:stop],
            progress=lambda done: None if progress is None else progress(start + done, config.count),
        )
        if found.skipped:
            bad = found.skipped[0]
            raise BankError(
                f"{bad.origin} cannot be an item of the bank ({bad.reason}); take it out of {config.images}"
            )
        latents: NDArray[np.floating] = found.latents.to(getattr(torch, config.dtype)).numpy()
        return Shard(np.full(stop - start, model.null_label, dtype=np.int64), latents)


def source_images(backbone: Backbone, bank: BankConfig, unseen: BankConfig) -> tuple[SourceImages, SourceImages]:
    """A bank and its held-out bank, of different images: the first ones of one random order, and the next ones.

    Args:
        backbone: the pretrained model, whose codec encodes them.
        bank: of which `images` is set.
        unseen: how many are held out.

    Raises:
        BankError: there are fewer images than that.
        DataError: there are no such images.
    """
    try:
        source = open_source(DataConfig(target=str(bank.images)), backbone.image_size, cache_folder())
    except DataError as reason:
        raise DataError(str(reason).replace("data.target", "bank.images")) from reason
    wanted = bank.count + unseen.count
    if wanted > len(source):
        most = max(min(len(source) // 2, BANK_ITEMS), len(source) - BANK_ITEMS)
        mend = f"set bank.count to {most} or fewer" if most else "it takes two images or more"
        raise BankError(
            f"bank.count={bank.count} and {unseen.count} held out are more than the {len(source)} images of {bank.images}; {mend}"
        )
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(bank.seed)).tolist()
    return (
        SourceImages(source, backbone, bank, order[: bank.count]),
        SourceImages(source, backbone, unseen, order[bank.count : wanted]),
    )
