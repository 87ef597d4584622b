"""Fig. 5b and 5c: how far the weights move."""

from __future__ import annotations

from difftuning.studies.axes import BESIDE, DIFF_TUNING, METHODS, MICRO, RETENTION, TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

STUDY = Study(
    name="drift",
    title="How far the weights move",
    source="Fig. 5b, 5c",
    claim="Diff-Tuning moves the weights less, in all and by tunable parameter.",
    recipe=MICRO,
    cells=cells(
        TARGETS,
        {name: (*overrides, "evaluation.fisher_draws=256") for name, overrides in {**METHODS, **BESIDE}.items()},
        seeds=(0,),
    ),
    claims=tuple(
        ahead(metric, method)
        for method in (DIFF_TUNING, RETENTION)
        for metric in ("drift", "drift_fisher", "heldout_bank")
    ),
    metrics=("drift", "drift_per_parameter", "drift_fisher", "heldout_bank", "heldout"),
)
