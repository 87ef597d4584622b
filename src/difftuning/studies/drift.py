"""Fig. 5b and 5c: how far the weights move."""

from __future__ import annotations

from difftuning.studies.axes import METHODS, MICRO, TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

STUDY = Study(
    name="drift",
    title="How far the weights move",
    source="Fig. 5b, 5c",
    claim="Diff-Tuning moves the weights less, in all and by tunable parameter.",
    recipe=MICRO,
    cells=cells(TARGETS, {name: (*overrides, "evaluation.fisher_draws=256") for name, overrides in METHODS.items()}),
    claims=(ahead("drift"), ahead("drift_fisher"), ahead("heldout_bank")),
    metrics=("drift", "drift_per_parameter", "drift_fisher", "heldout_bank"),
)
