"""Domain guidance against classifier-free guidance, for all fine-tunings, over scales."""

from __future__ import annotations

from difftuning.studies.axes import (
    ADAPTING,
    ADAPTIVE,
    BESIDE,
    DIFF_TUNING,
    FINETUNE,
    METHODS,
    MICRO,
    RETENTION,
    TUNING_TARGETS,
    cells,
)
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, ahead_at_best

_METHODS = {**METHODS, **BESIDE, **ADAPTING}
_AWAY_FROM = {"": (), "domain guidance": ("sampling.negative=pretrained",)}
_SCALES = {str(scale): (f"sampling.guidance={scale}",) for scale in (1, 1.5, 2, 3, 4)}
_WAYS = {
    f"{method} + {name}" if name else method: (*overrides, *changes)
    for name, changes in _AWAY_FROM.items()
    for method, overrides in _METHODS.items()
}

STUDY = Study(
    name="guidance",
    title="What guidance leads away from, and how far",
    source="",
    claim="Is the pretrained model's unconditional answer the better negative branch, and does Diff-Tuning need it less?",
    recipe=MICRO,
    cells=tuple(
        cell
        for cell in cells(TUNING_TARGETS, _WAYS, _SCALES, "scale", seeds=(0, 1))
        # At a scale of 1 there is nothing to lead away from.
        if not (cell.setting["scale"] == 1 and "domain" in cell.method)
    ),
    down="scale",
    metrics=("frechet", "kid", "precision", "recall", "memorised"),
    claims=(
        *(ahead("kid", f"{method} + domain guidance", method) for method in _METHODS),
        *(ahead("kid", method) for method in (DIFF_TUNING, RETENTION, ADAPTIVE)),
        *(
            ahead_at_best(metric, method)
            for method in (
                DIFF_TUNING,
                RETENTION,
                ADAPTIVE,
                *(f"{name} + domain guidance" for name in (FINETUNE, RETENTION, ADAPTIVE)),
            )
            for metric in ("frechet", "kid")
        ),
    ),
)
