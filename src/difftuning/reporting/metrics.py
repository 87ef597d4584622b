"""Metrics as people read them: their names, which way they are better, and what of them is compared."""

from __future__ import annotations

from collections.abc import Mapping

from difftuning.results import BEST, INNOCENT, SWAP

LOWER_IS_BETTER = {
    "heldout": True,
    "heldout_bank": True,
    "frechet": True,
    "fid": True,
    "kid": True,
    "precision": False,
    "recall": False,
    "memorised": True,
    "convergence": True,
}
"""Which way a metric is read; one that is not here, such as the drift, is shown and not judged."""

LABELS = {
    "heldout": "held-out error, target",
    "heldout_best": "held-out error, best checkpoint",
    "heldout_bank": "error on the bank",
    "frechet": "Frechet distance",
    "fid": "FID",
    "frechet_best": "lowest Frechet distance while training",
    "fid_best": "lowest FID while training",
    "kid": "KID",
    "kid_best": "lowest KID while training",
    "precision": "precision",
    "recall": "recall",
    "memorised": "memorised share, of real images 0.05",
    "forgetting": "forgetting: rise of the held-out error of earlier phases",
    "forward_transfer": "forward transfer: change of the held-out error before a phase",
    "convergence": "steps until the map is obeyed",
    "convergence_reached": "whether it begins to obey at all; where not, its step is the last one, and too early",
    "convergence_sudden": "whether the standard curve leaps (1) or climbs slowly (0)",
    "consistency": "control consistency; of depth and normals a squared error, so lower is better",
    "drift": "weight drift",
    "drift_per_parameter": "weight drift by parameter",
    "drift_fisher": "weight drift, Fisher-weighted on the bank",
}

MEMORISED = "memorised"

DISTANCES = ("frechet", "fid", "kid")
"""Metrics that mean nothing without the name of their feature network."""


def label(metric: str) -> str:
    """A metric in words."""
    name = metric.removeprefix(SWAP)
    return LABELS.get(name, name) + ("" if name == metric else ", last steps swapped")


def lower_is_better(metric: str) -> bool | None:
    """Which way a metric is better; None where neither is."""
    return LOWER_IS_BETTER.get(metric.removeprefix(SWAP).removesuffix(BEST))


def counted(metric: str, values: Mapping[int, float]) -> dict[int, float]:
    """What is compared of the values by seed: of memorised shares what real images have too is no fault, and less no merit."""
    return {seed: max(value, INNOCENT) if metric == MEMORISED else value for seed, value in values.items()}
