"""Fig. 6b: neither part, each alone, both."""

from __future__ import annotations

from difftuning.studies.axes import METHODS, MICRO, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_PARTS = {
    **METHODS,
    # xi = 1 - u with psi = 1, and psi = u with xi = 0: section 4.4.
    "retention only": (
        "coefficients.psi.kind=constant",
        "coefficients.psi.value=1",
        "coefficients.xi={kind: power-of-complement, tau: 1}",
    ),
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
        ahead("heldout", "retention only"),
        ahead("heldout", "reconsolidation only"),
        ahead("heldout", baseline="retention only"),
        ahead("heldout", baseline="reconsolidation only"),
    ),
)
