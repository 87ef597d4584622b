"""Fig. 7c: one model through a stream of domains, and what it knows of all of them in the end."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, MICRO, SEEDS
from difftuning.studies.base import Cell, Study
from difftuning.studies.claims import ahead, nowhere_behind

STREAMS = ("pacs", "icons", "drift", "arriving")
"""Shipped streams: photographs, paintings and cartoons; icons of three makers; a drift, with borders and without."""
STATIC, JOINT, REPLAY = "static bank", "joint", "replay"
_METHODS = {
    FINETUNE: "sequential",
    DIFF_TUNING: "refresh",
    JOINT: "joint",
    STATIC: "static",
    REPLAY: "replay",
    "EWC": "ewc",
    "L2-SP": "l2-sp",
}

STUDY = Study(
    name="continual",
    title="Continual transfer",
    source="Fig. 7c",
    claim="With a bank that is refreshed before each phase, Diff-Tuning is better than standard fine-tuning on all phases so far.",
    recipe=MICRO,
    cells=tuple(
        Cell(method, (), seed, stream=(f"streams/{name}", f"method.kind={kind}"))
        for seed in SEEDS
        for name in STREAMS
        for method, kind in _METHODS.items()
    ),
    metrics=("frechet", "kid", "heldout", "forgetting", "forward_transfer", "memorised"),
    claims=(
        ahead("frechet"),
        nowhere_behind("frechet", DIFF_TUNING),
        ahead("heldout"),
        nowhere_behind("heldout", DIFF_TUNING),
        # What joint training, the upper bound, is ahead by is the gap.
        ahead("frechet", JOINT, DIFF_TUNING),
        ahead("heldout", JOINT, DIFF_TUNING),
        ahead("heldout", DIFF_TUNING, STATIC),
        ahead("heldout", DIFF_TUNING, REPLAY),
    ),
)
