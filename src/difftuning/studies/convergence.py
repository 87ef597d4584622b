"""Fig. 6a: the error against the steps, past the point where standard fine-tuning turns."""

from __future__ import annotations

from difftuning.studies.axes import METHODS, MICRO, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_LONG = {name: (*overrides, "training.steps=6000") for name, overrides in METHODS.items()}

STUDY = Study(
    name="convergence",
    title="Convergence, and what comes after it",
    source="Fig. 6a",
    claim="Diff-Tuning converges faster and lower than standard fine-tuning.",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, _LONG),
    curves=True,
    claims=(
        ahead("heldout_best"),
        ahead("heldout"),
    ),
)
