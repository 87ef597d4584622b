"""What else keeps a fine-tuned model near its source, each at several strengths."""

from __future__ import annotations

from difftuning.studies.axes import METHODS, MICRO, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_PLAIN = METHODS["finetune"]
_OTHERS = {
    **{
        f"L2-SP {strength:g}": (*_PLAIN, f"anchor={{kind: l2-sp, strength: {strength}}}")
        for strength in (1e-4, 1e-3, 1e-2)
    },
    **{f"EWC {strength:g}": (*_PLAIN, f"anchor={{kind: ewc, strength: {strength}}}") for strength in (1, 10, 100)},
    # DreamBooth's prior preservation: half of every batch from the bank, whatever the noise.
    "prior preservation": ("coefficients.psi.kind=constant", "coefficients.psi.value=0.5"),
}

STUDY = Study(
    name="regularisers",
    title="Other ways to stay near the source",
    source="",
    claim="Is Diff-Tuning ahead of the usual regularisers, each at its best strength?",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, {**METHODS, **_OTHERS}),
    claims=(*(ahead("heldout", baseline=name) for name in _OTHERS),),
)
