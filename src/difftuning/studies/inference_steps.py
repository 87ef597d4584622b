"""Fig. 7b: how many solver steps the samples are drawn with, and where these begin."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, METHODS, MICRO, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, ahead_at, nowhere_behind

FEW, MANY = 8, 100
_STEPS = {str(steps): (f"sampling.steps={steps}",) for steps in (FEW, 16, 50, MANY)}
_TRAILING = {f"{name}, trailing": (*how, "sampling.spacing=trailing") for name, how in METHODS.items()}
"""The model's own spacing leads: of few steps the first is below the last timestep, as if all were noise there already."""

STUDY = Study(
    name="inference-steps",
    title="Solver steps of the samples",
    source="Fig. 7b",
    claim="Diff-Tuning is ahead at any number of steps, and most with few.",
    recipe=MICRO,
    cells=(
        *cells(["pacs-photo"], METHODS, _STEPS, "solver steps"),
        *cells(["pacs-photo"], _TRAILING, _STEPS, "solver steps", seeds=(0,)),
    ),
    down="solver steps",
    metrics=("frechet", "kid", "precision", "recall", "memorised"),
    claims=(
        ahead("kid"),
        *(
            ahead_at(metric, "solver steps", (DIFF_TUNING, steps), (FINETUNE, steps))
            for metric in ("frechet", "kid")
            for steps in (FEW, MANY)
        ),
        *(nowhere_behind(metric, DIFF_TUNING) for metric in ("frechet", "kid")),
        *(ahead("frechet", f"{name}, trailing", name) for name in (FINETUNE, DIFF_TUNING)),
    ),
)
