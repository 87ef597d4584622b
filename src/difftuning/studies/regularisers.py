"""What else keeps a fine-tuned model near its source, each at several strengths."""

from __future__ import annotations

from difftuning.studies.axes import BESIDE, DIFF_TUNING, METHODS, MICRO, RETENTION, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_PLAIN = METHODS["finetune"]
_TRAINED = {
    **{
        f"L2-SP {strength:g}": (*_PLAIN, f"anchor={{kind: l2-sp, strength: {strength}}}")
        for strength in (1e-4, 1e-3, 1e-2)
    },
    **{f"EWC {strength:g}": (*_PLAIN, f"anchor={{kind: ewc, strength: {strength}}}") for strength in (1, 10, 100)},
    # DreamBooth's prior preservation: half of every batch from the bank, whatever the noise.
    "prior preservation": ("coefficients.psi.kind=constant", "coefficients.psi.value=0.5"),
}
_DRAWN = {
    **{f"interpolation {share}": f"{{kind: constant, value: {share}}}" for share in (0.25, 0.5, 0.75)},
    **{f"interpolation u^{tau}": f"{{kind: power, tau: {tau}}}" for tau in (0.3, 1)},
    # Standard fine-tuning whose last steps go to the pretrained weights.
    **{f"switch at u = {at}": f"{{kind: step, at: {at}}}" for at in (0.1, 0.2, 0.3)},
}
_OTHERS = {
    **_TRAINED,
    **{name: (*_PLAIN, f"sampling.interpolation={family}") for name, family in _DRAWN.items()},
}

STUDY = Study(
    name="regularisers",
    title="Other ways to stay near the source",
    source="",
    claim="Is Diff-Tuning ahead of the usual regularisers, each at its best strength?",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, {**METHODS, **BESIDE, **_OTHERS}, seeds=(0,)),
    claims=tuple(ahead("heldout", method, name) for method in (DIFF_TUNING, RETENTION) for name in _OTHERS),
)
