"""Fig. 6c: the forms of psi and of xi."""

from __future__ import annotations

from difftuning.studies.axes import (
    BESIDE,
    DIFF_TUNING,
    FINETUNE,
    LABELS_TOO,
    MEASURED,
    MICRO,
    RETENTION,
    TUNING_TARGETS,
    WHOLE_TARGET,
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
    **BESIDE,
    f"{RETENTION}, labels too": (*BESIDE[RETENTION], *LABELS_TOO),
    f"{RETENTION}, tau = 0.5": (*WHOLE_TARGET, *_POWERS["tau = 0.5"]),
    f"{RETENTION}, tau = 2": (*WHOLE_TARGET, "coefficients.psi.kind=power", "coefficients.psi.tau=2"),
}

_CELLS = cells(TUNING_TARGETS, {DIFF_TUNING if name == "tau = 1" else name: form for name, form in _FORMS.items()})

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
        *(ahead("frechet", name) for name in _FORMS if name.startswith(RETENTION)),
    ),
)
