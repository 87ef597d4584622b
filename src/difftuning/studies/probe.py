"""How long the probe must be that a psi is measured by."""

from __future__ import annotations

from dataclasses import replace

from difftuning.studies.axes import FINETUNE, MEASURED_RETENTION, METHODS, MICRO, TARGETS, cells, with_measured
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

SHORT = "measured retention, short probe"
_SHORT = ("training.steps=600", "training.heldout_every=60")
"""What the documentation tells to do."""
_CELLS = with_measured(
    cells(TARGETS, {FINETUNE: (*METHODS[FINETUNE], "data.per_class=10", "training.steps=2000")}, seeds=(0,)),
    MEASURED_RETENTION,
)

STUDY = Study(
    name="probe",
    title="How long the probe must be",
    source="",
    claim="Does a probe of 600 steps advise as well as one of all 2,000 steps, which costs as much as the training?",
    recipe=MICRO,
    cells=tuple(
        one for cell in _CELLS for one in (cell, *([replace(cell, method=SHORT, probe=_SHORT)] if cell.advised else []))
    ),
    claims=(
        *(ahead(metric, method) for method in (MEASURED_RETENTION, SHORT) for metric in ("heldout", "frechet", "kid")),
        *(nowhere_behind("heldout", method, by=0.02) for method in (MEASURED_RETENTION, SHORT)),
        *(ahead(metric, SHORT, MEASURED_RETENTION) for metric in ("heldout", "frechet")),
    ),
)
