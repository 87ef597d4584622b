"""Fig. 6a: error and distance against the steps, past the point where standard fine-tuning turns."""

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
from difftuning.studies.claims import ahead, sooner

_LONG = {
    name: (*overrides, "training.steps=4000", "evaluation.distance_every=500")
    for name, overrides in {**METHODS, **BESIDE, **ADAPTING}.items()
}

STUDY = Study(
    name="convergence",
    title="Convergence, and what comes after it",
    source="Fig. 6a",
    claim="Diff-Tuning converges faster and lower than standard fine-tuning.",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, _LONG, seeds=(0, 1)),
    metrics=("heldout", "heldout_best", "frechet", "frechet_best", "kid", "kid_best", "memorised"),
    curves=True,
    claims=tuple(
        claim(metric, method)
        for method in (DIFF_TUNING, RETENTION, ADAPTIVE)
        for claim, metrics in (
            (sooner, ("heldout", "frechet")),
            (ahead, ("heldout_best", "heldout", "frechet_best", "frechet")),
        )
        for metric in metrics
    ),
)
