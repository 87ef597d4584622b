"""Fig. 7c: one model through a stream of domains, and what it knows of all of them in the end."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, METHODS, MICRO, SEEDS
from difftuning.studies.base import Cell, Study
from difftuning.studies.claims import ahead, nowhere_behind

STREAMS = ("pacs", "icons", "drift", "arriving")
"""Shipped streams: photographs, paintings and cartoons; icons of three makers; a drift, with borders and without."""
ADAPTIVE_STREAM, STATIC, JOINT, REPLAY = "adaptive under classes", "static bank", "joint", "replay"
_METHODS: dict[str, tuple[str, ...]] = {
    FINETUNE: ("method.kind=sequential",),
    # As shipped: what the current model draws is replayed under its class, as far as the error on all phases so far asks.
    ADAPTIVE_STREAM: (),
    JOINT: ("method.kind=joint",),
    DIFF_TUNING: ("method.condition=null",),
    STATIC: ("method.kind=static",),
    REPLAY: ("method.kind=replay",),
    "EWC": ("method.kind=ewc",),
    "L2-SP": ("method.kind=l2-sp",),
}
_DECIDING = (FINETUNE, ADAPTIVE_STREAM)
"""Over all seeds, and first; the others on one seed, for their cost."""
_PAPER = (DIFF_TUNING, STATIC)
"""With tau = 1, as in the paper; the others have a psi of their own, or none."""
_JUDGED = "distances=so-far"
"""Distances on each phase alone decide nothing here, and cost as much as the training."""

STUDY = Study(
    name="continual",
    title="Continual transfer",
    source="Fig. 7c",
    claim="With a bank that is refreshed before each phase, Diff-Tuning is better than standard fine-tuning on all phases so far.",
    recipe=MICRO,
    cells=tuple(
        Cell(
            method,
            METHODS[DIFF_TUNING] if method in _PAPER else (),
            seed,
            stream=(f"streams/{name}", _JUDGED, *chosen),
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
            for method in (ADAPTIVE_STREAM, DIFF_TUNING)
            for metric in ("frechet", "heldout")
            # What joint training, the upper bound, is ahead by is the gap.
            for claim in (ahead(metric, method), nowhere_behind(metric, method), ahead(metric, JOINT, method))
        ),
        ahead("heldout", ADAPTIVE_STREAM, STATIC),
        ahead("heldout", ADAPTIVE_STREAM, REPLAY),
    ),
)
