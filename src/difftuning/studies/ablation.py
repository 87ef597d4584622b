"""Fig. 6b: neither part, each alone, both."""

from __future__ import annotations

from difftuning.studies.axes import BESIDE, METHODS, MICRO, RETENTION, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_PARTS = {
    **METHODS,
    **BESIDE,
    # psi = u with xi = 0: section 4.4.
    "reconsolidation only": (
        "coefficients.psi.kind=power",
        "coefficients.psi.tau=1",
        "coefficients.xi={kind: constant, value: 0}",
    ),
}

STUDY = Study(
    name="ablation",
    title="Retention and reconsolidation, alone and together",
    source="Fig. 6b",
    claim="Each part alone helps; both together are best.",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, _PARTS),
    claims=(
        ahead("heldout", RETENTION),
        ahead("heldout", "reconsolidation only"),
        ahead("heldout", baseline=RETENTION),
        ahead("heldout", baseline="reconsolidation only"),
    ),
)
