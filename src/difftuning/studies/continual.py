"""Fig. 7c: one model through a stream of domains, and what it knows of all of them in the end."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, MICRO, SEEDS, WHOLE_TARGET
from difftuning.studies.base import Cell, Study
from difftuning.studies.claims import ahead, nowhere_behind

STREAMS = ("pacs", "icons", "drift", "arriving")
"""Shipped streams: photographs, paintings and cartoons; icons of three makers; a drift, with borders and without."""
STATIC, JOINT, REPLAY, UNDER_CLASSES = "static bank", "joint", "replay", "retention under classes"
_METHODS: dict[str, tuple[str, ...]] = {
    FINETUNE: ("method.kind=sequential",),
    # What the current model draws is replayed under the class that it was drawn under.
    UNDER_CLASSES: ("method.kind=refresh", "method.condition=drawn"),
    JOINT: ("method.kind=joint",),
    DIFF_TUNING: ("method.kind=refresh",),
    STATIC: ("method.kind=static",),
    REPLAY: ("method.kind=replay",),
    "EWC": ("method.kind=ewc",),
    "L2-SP": ("method.kind=l2-sp",),
}
_DECIDING = (FINETUNE, UNDER_CLASSES)
"""Over all seeds, and first; the others on one seed, for their cost."""
_LITTLE = (*WHOLE_TARGET, "coefficients.psi.kind=power", "coefficients.psi.tau=0.3")
"""Beside the whole target xi = 1 - u^0.3: with xi = 1 - u the distances of a stream of short phases suffer."""
_STEPS = {"pacs": 500, "icons": 500, "drift": 500, "arriving": 250}
"""Of a phase: half of what the streams have."""
_DRAWN = "sampling.guidance=2"
"""Of 1.5, 2 and 3 the best for standard fine-tuning and for retention, tried on `drift`."""

STUDY = Study(
    name="continual",
    title="Continual transfer",
    source="Fig. 7c",
    claim="With a bank that is refreshed before each phase, Diff-Tuning is better than standard fine-tuning on all phases so far.",
    recipe=MICRO,
    cells=tuple(
        Cell(
            method,
            (f"training.steps={_STEPS[name]}", _DRAWN, *(_LITTLE if method == UNDER_CLASSES else ())),
            seed,
            stream=(f"streams/{name}", *chosen),
        )
        for methods, seeds in ((_DECIDING, SEEDS), (_METHODS.keys() - set(_DECIDING), SEEDS[:1]))
        for seed in seeds
        for name in STREAMS
        for method, chosen in _METHODS.items()
        if method in methods
    ),
    metrics=("frechet", "kid", "heldout", "forgetting", "forward_transfer", "memorised"),
    claims=(
        *(
            claim
            for method in (UNDER_CLASSES, DIFF_TUNING)
            for metric in ("frechet", "heldout")
            # What joint training, the upper bound, is ahead by is the gap.
            for claim in (ahead(metric, method), nowhere_behind(metric, method), ahead(metric, JOINT, method))
        ),
        ahead("heldout", UNDER_CLASSES, STATIC),
        ahead("heldout", UNDER_CLASSES, REPLAY),
    ),
)
