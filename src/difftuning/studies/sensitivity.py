"""Fig. 6c: the form of psi."""

from __future__ import annotations

from difftuning.studies.axes import (
    DIFF_TUNING,
    FINETUNE,
    LABELS_TOO,
    MEASURED,
    MICRO,
    TUNING_TARGETS,
    cells,
    with_measured,
)
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_POWERS = {
    f"tau = {tau}": ("coefficients.psi.kind=power", f"coefficients.psi.tau={tau}") for tau in (0.3, 0.5, 0.7, 1, 1.5)
}
_FORMS = {
    FINETUNE: ("coefficients.psi.kind=power", "coefficients.psi.tau=0"),
    **_POWERS,
    "tau = 1, labels too": (*_POWERS["tau = 1"], *LABELS_TOO),
    "1 / (1 + SNR)": ("coefficients.psi.kind=snr",),
    # The same share of the bank at every noise level: what the rise of psi is worth.
    "psi = 0.7": ("coefficients.psi.kind=constant", "coefficients.psi.value=0.7"),
    "psi = 0.4": ("coefficients.psi.kind=constant", "coefficients.psi.value=0.4"),
    "ramp .1 to .3": ("coefficients.psi.kind=ramp", "coefficients.psi.start=0.1", "coefficients.psi.stop=0.3"),
}

_CELLS = cells(TUNING_TARGETS, {DIFF_TUNING if name == "tau = 1" else name: form for name, form in _FORMS.items()})

STUDY = Study(
    name="sensitivity",
    title="The form of psi",
    source="Fig. 6c",
    claim="tau = 1 is good, and a tuned coefficient can be slightly better.",
    recipe=MICRO,
    cells=with_measured(_CELLS),
    claims=(
        *(ahead("heldout", name) for name in _FORMS if name not in (FINETUNE, "tau = 1")),
        ahead("heldout"),
        ahead("heldout", MEASURED),
        ahead("heldout", MEASURED, DIFF_TUNING),
    ),
)
