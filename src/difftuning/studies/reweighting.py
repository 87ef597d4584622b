"""Table 5: weights of the loss over noise levels, alone and with Diff-Tuning."""

from __future__ import annotations

from difftuning.studies.axes import METHODS, MICRO, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_WEIGHTS = {
    "": (),
    "P2": ("coefficients.weighting={kind: p2}",),
    "min-SNR": ("coefficients.weighting={kind: min-snr}",),
}

STUDY = Study(
    name="reweighting",
    title="Weights of the loss over noise levels",
    source="Table 5",
    claim="Reweighting is orthogonal to Diff-Tuning and its effect is mixed; min-SNR may conflict with the chain of forgetting.",
    recipe=MICRO,
    cells=cells(
        TUNING_TARGETS,
        {
            f"{method} + {name}" if name else method: (*overrides, *weight)
            for name, weight in _WEIGHTS.items()
            for method, overrides in METHODS.items()
        },
        seeds=(0, 1),
    ),
    claims=(*(ahead("heldout", f"{method} + {name}", method) for name in _WEIGHTS if name for method in METHODS),),
)
