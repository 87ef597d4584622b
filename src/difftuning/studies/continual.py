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
_DECIDING = (FINETUNE, DIFF_TUNING, JOINT)
"""Over all seeds, and first; the others on one seed, for their cost."""
_STEPS = {"pacs": 500, "icons": 500, "drift": 500, "arriving": 250}
"""Of a phase: half of what the streams have."""

STUDY = Study(
    name="continual",
    title="Continual transfer",
    source="Fig. 7c",
    claim="With a bank that is refreshed before each phase, Diff-Tuning is better than standard fine-tuning on all phases so far.",
    recipe=MICRO,
    cells=tuple(
        Cell(method, (f"training.steps={_STEPS[name]}",), seed, stream=(f"streams/{name}", f"method.kind={kind}"))
        for methods, seeds in ((_DECIDING, SEEDS), (_METHODS.keys() - set(_DECIDING), SEEDS[:1]))
        for seed in seeds
        for name in STREAMS
        for method, kind in _METHODS.items()
        if method in methods
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
