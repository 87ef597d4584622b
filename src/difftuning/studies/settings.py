"""Learning rate and average, tuned first: the same sweep for standard fine-tuning and for Diff-Tuning, no more for either."""

from __future__ import annotations

from difftuning.studies.axes import (
    ADAPTING,
    ADAPTIVE,
    BESIDE,
    DIFF_TUNING,
    METHODS,
    MICRO,
    RETENTION,
    TUNING_TARGETS,
    cells,
)
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead_at_best

_SETTINGS = {
    f"lr {lr:g}, EMA {decay:g}": (f"optim.lr={lr}", f"ema.decay={decay}")
    for lr, decay in ((5e-4, 0.99), (2e-4, 0.99), (1e-3, 0.99), (5e-4, 0.999))
}

STUDY = Study(
    name="settings",
    title="Learning rate and average, the same sweep for all",
    source="",
    claim="At which settings is each at its best, for a target and a measure, and does the order change with them?",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, {**METHODS, **BESIDE, **ADAPTING}, _SETTINGS, "optimiser", seeds=(0,)),
    down="optimiser",
    metrics=("heldout_best", "heldout", "frechet", "kid"),
    claims=tuple(
        ahead_at_best(metric, method)
        for method in (DIFF_TUNING, RETENTION, ADAPTIVE)
        for metric in ("heldout_best", "heldout", "frechet", "kid")
    ),
)
"""The steps are part of the sweep by the checkpoint with the lowest held-out error, which the first table shows."""
