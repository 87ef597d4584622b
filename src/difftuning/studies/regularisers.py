"""What else keeps a fine-tuned model near its source, each at several strengths."""

from __future__ import annotations

from collections.abc import Mapping

from difftuning.studies.axes import (
    ADAPTING,
    ADAPTIVE,
    BESIDE,
    DIFF_TUNING,
    METHODS,
    MICRO,
    RETENTION,
    TUNING_TARGETS,
    cells,
)
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, ahead_of_best

_PLAIN = METHODS["finetune"]


def _anchored(kind: str, strength: float) -> tuple[str, ...]:
    return (*_PLAIN, f"anchor={{kind: {kind}, strength: {strength}}}")


def _drawn(family: str) -> tuple[str, ...]:
    """Standard fine-tuning that draws with weights between its own and the pretrained ones."""
    return (*_PLAIN, f"sampling.interpolation={family}")


_OTHERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "L2-SP": {f"L2-SP {strength:g}": _anchored("l2-sp", strength) for strength in (1e-5, 1e-4, 1e-3, 1e-2)},
    "EWC": {f"EWC {strength:g}": _anchored("ewc", strength) for strength in (1, 10, 100, 1000, 10000, 100000)},
    # DreamBooth's: half of every batch from the bank, whatever the noise.
    "prior preservation": {"prior preservation": ("coefficients.psi.kind=constant", "coefficients.psi.value=0.5")},
    "interpolation": {
        **{f"interpolation {share}": _drawn(f"{{kind: constant, value: {share}}}") for share in (0.25, 0.5, 0.75)},
        **{f"interpolation u^{tau}": _drawn(f"{{kind: power, tau: {tau}}}") for tau in (0.3, 1)},
    },
    # Its last steps go to the pretrained weights.
    "switch": {f"switch at u = {at}": _drawn(f"{{kind: step, at: {at}}}") for at in (0.05, 0.1, 0.2, 0.3)},
}
"""Name -> its strengths, each a method."""

STUDY = Study(
    name="regularisers",
    title="Other ways to stay near the source",
    source="",
    claim="Is Diff-Tuning ahead of the usual regularisers, each at the strength that is best for a target and a measure? That is "
    "chosen on the images that judge, which favours them.",
    recipe=MICRO,
    cells=cells(
        TUNING_TARGETS,
        {**METHODS, **BESIDE, **ADAPTING, **{name: how for group in _OTHERS.values() for name, how in group.items()}},
        seeds=(0,),
    ),
    note="The strength that is best for a target and a measure is the best of those tried. Of L2-SP and EWC the weakest are "
    "all but standard fine-tuning; prior preservation has one.",
    claims=tuple(
        ahead_of_best(metric, method, name, strengths) if len(strengths) > 1 else ahead(metric, method, name)
        for method in (DIFF_TUNING, RETENTION, ADAPTIVE)
        for name, strengths in _OTHERS.items()
        for metric in ("heldout", "frechet", "kid")
    ),
)
