"""Fig. 7a: how well the bank must be drawn."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, METHODS, MICRO, cells
from difftuning.studies.base import Study

_STEPS = {str(steps): (f"bank.steps={steps}",) for steps in (5, 12, 25, 50)}

STUDY = Study(
    name="bank-steps",
    title="Solver steps of the bank",
    source="Fig. 7a",
    claim="The steps that the bank was drawn with matter little.",
    recipe=MICRO,
    cells=cells(["pacs-photo"], {DIFF_TUNING: METHODS[DIFF_TUNING]}, _STEPS, "solver steps", seeds=(0, 1)),
    down="solver steps",
)
