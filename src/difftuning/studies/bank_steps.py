"""Fig. 7a: how well the bank must be drawn."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, METHODS, MICRO, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead_of_itself

STEPS = (5, 12, 25, 50)

STUDY = Study(
    name="bank-steps",
    title="Solver steps of the bank",
    source="Fig. 7a",
    claim="The steps that the bank was drawn with matter little.",
    recipe=MICRO,
    cells=cells(
        ["pacs-photo"],
        {DIFF_TUNING: METHODS[DIFF_TUNING]},
        {str(steps): (f"bank.steps={steps}",) for steps in STEPS},
        "solver steps",
    ),
    down="solver steps",
    claims=tuple(
        ahead_of_itself(metric, "solver steps", few, STEPS[-1], DIFF_TUNING, within=0.02)
        for few in STEPS[:2]
        for metric in ("heldout", "frechet")
    ),
)
