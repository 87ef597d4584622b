"""Fig. 6c: the forms of psi and of xi."""

from __future__ import annotations

from difftuning.studies.axes import (
    ADAPTING,
    BESIDE,
    DIFF_TUNING,
    FINETUNE,
    MEASURED,
    MICRO,
    RETENTION,
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
    "1 / (1 + SNR)": ("coefficients.psi.kind=snr",),
    "ramp .1 to .3": ("coefficients.psi.kind=ramp", "coefficients.psi.start=0.1", "coefficients.psi.stop=0.3"),
    **BESIDE,
    **ADAPTING,
}

_CELLS = cells(
    TUNING_TARGETS, {DIFF_TUNING if name == "tau = 1" else name: form for name, form in _FORMS.items()}, seeds=(0, 1)
)

STUDY = Study(
    name="sensitivity",
    title="The forms of psi and xi",
    source="Fig. 6c",
    claim="tau = 1 is good, and a tuned coefficient can be slightly better.",
    recipe=MICRO,
    cells=with_measured(_CELLS),
    claims=(
        *(ahead("heldout", name) for name in _FORMS if name not in (FINETUNE, "tau = 1")),
        ahead("heldout"),
        ahead("heldout", MEASURED),
        ahead("heldout", MEASURED, DIFF_TUNING),
        ahead("frechet", RETENTION),
    ),
)
