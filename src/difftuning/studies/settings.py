"""Learning rate and average, tuned first: the same sweep for standard fine-tuning and for Diff-Tuning, no more for either."""

from __future__ import annotations

from difftuning.studies.axes import BESIDE, METHODS, MICRO, RETENTION, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_SETTINGS = {
    f"lr {lr:g}, EMA {decay:g}": (f"optim.lr={lr}", f"ema.decay={decay}")
    for lr, decay in ((5e-4, 0.99), (2e-4, 0.99), (1e-3, 0.99), (5e-4, 0.999))
}

STUDY = Study(
    name="settings",
    title="Learning rate and average, the same sweep for all",
    source="",
    claim="At which settings is each at its best, and does the order change with them?",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, {**METHODS, **BESIDE}, _SETTINGS, "optimiser", seeds=(0,)),
    down="optimiser",
    metrics=("heldout_best", "heldout", "frechet", "kid"),
    claims=(ahead("heldout_best"), ahead("heldout_best", RETENTION), ahead("heldout", RETENTION)),
)
"""The steps are part of the sweep by the checkpoint with the lowest held-out error, which the first table shows."""
