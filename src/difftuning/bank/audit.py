"""Read a whole bank and tell whether it is what its card says."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from difftuning.bank.card_file import read_card
from difftuning.bank.generate import Progress, labels_of
from difftuning.bank.store import MEND, read_shard
from difftuning.errors import BankError

_ANEW = "remove the folder and build the bank again"


class Audit(BaseModel):
    """What was found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: int
    """Items that could be read."""
    problems: tuple[str, ...]
    """Each names a shard or an item, and the mend."""
    duplicates: tuple[tuple[int, int], ...]
    """Pairs (earlier, later) of items with the same bytes: the model collapses, or a seed was used twice."""
    class_counts: dict[int, int]
    """Items by the label they were drawn under."""
    mean: float
    """Of all finite latents; with `std` a quick sign of a bank in the wrong scale."""
    std: float
    """Of all finite latents."""

    @property
    def ok(self) -> bool:
        """No problem and no duplicate."""
        return not self.problems and not self.duplicates


def verify(folder: Path, progress: Progress | None = None) -> Audit:
    """Check digests, finite values, labels against the policy (and so class balance), and duplicates.

    Raises:
        BankError: there is no finished bank.
    """
    card = read_card(folder)
    problems: list[str] = []
    duplicates: list[tuple[int, int]] = []
    seen: dict[bytes, int] = {}
    counts: Counter[int] = Counter()
    items, total, squares, values = 0, 0.0, 0.0, 0
    for entry in card.shards:
        try:
            shard = read_shard(folder / entry.file)
        except BankError as reason:
            problems.append(str(reason))
            continue
        if shard.sha256 != entry.sha256 or len(shard) != entry.stop - entry.start:
            problems.append(f"bank shard {folder / entry.file} is whole but not the one that the card names; {MEND}")
            continue
        finite = np.isfinite(shard.latents).all(axis=(1, 2, 3))
        bad = np.flatnonzero(~finite)
        if len(bad):
            first = entry.start + int(bad[0])
            problems.append(f"{len(bad)} items of {entry.file} are not finite, the first is {first}; {_ANEW}")
        # Copied items keep the labels that another model drew them under.
        first_drawn = min(max(card.copied, entry.start), entry.stop)
        expected = labels_of(range(first_drawn, entry.stop), card.config, card.model)
        if not np.array_equal(shard.labels[first_drawn - entry.start :], expected.numpy()):
            problems.append(f"the labels of {entry.file} do not follow the policy {card.config.labels!r}; {_ANEW}")
        for item, latent in enumerate(shard.latents, entry.start):
            key = hashlib.blake2b(latent.tobytes(), digest_size=16).digest()
            if (earlier := seen.setdefault(key, item)) != item:
                duplicates.append((earlier, item))
        latents = shard.latents[finite].astype(np.float64)
        items, total, values = items + len(shard), total + float(latents.sum()), values + latents.size
        squares += float(np.square(latents).sum())
        counts.update(shard.labels.tolist())
        if progress is not None:
            progress(entry.stop, card.config.count)
    mean = total / max(values, 1)
    return Audit(
        items=items,
        problems=tuple(problems),
        duplicates=tuple(duplicates),
        class_counts=dict(sorted(counts.items())),
        mean=mean,
        std=max(squares / max(values, 1) - mean**2, 0.0) ** 0.5,
    )
