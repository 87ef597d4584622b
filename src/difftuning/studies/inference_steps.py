"""Fig. 7b: how many solver steps the samples are drawn with."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, METHODS, MICRO, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

_STEPS = {str(steps): (f"sampling.steps={steps}",) for steps in (8, 16, 50, 100)}

STUDY = Study(
    name="inference-steps",
    title="Solver steps of the samples",
    source="Fig. 7b",
    claim="Diff-Tuning is ahead at any number of steps, and most with few.",
    recipe=MICRO,
    cells=cells(["pacs-photo"], METHODS, _STEPS, "solver steps"),
    down="solver steps",
    metrics=("frechet", "kid", "precision", "recall", "memorised"),
    claims=(ahead("kid"), *(nowhere_behind(metric, DIFF_TUNING) for metric in ("frechet", "kid"))),
)
