"""Ten images a class, fifty, or all there are, on every target."""

from __future__ import annotations

from difftuning.studies.axes import ADAPTING, ADAPTIVE, BESIDE, METHODS, MICRO, RETENTION, TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

_IMAGES = {"10 a class": ("data.per_class=10",), "50 a class": ("data.per_class=50",), "all": ("data.per_class=null",)}
_STEPS = ("training.steps=2000",)
_METHODS = {name: (*overrides, *_STEPS) for name, overrides in {**METHODS, **BESIDE, **ADAPTING}.items()}

STUDY = Study(
    name="images",
    title="Few images, or all of them",
    source="",
    claim="In 2,000 steps, is retention ahead with as many images as there are, and on which targets?",
    recipe=MICRO,
    cells=cells(TARGETS, _METHODS, _IMAGES, "images", seeds=(0,)),
    down="images",
    claims=(
        *(
            ahead(metric, method)
            for method in ("diff-tuning", RETENTION, ADAPTIVE)
            for metric in ("heldout", "heldout_best", "frechet", "kid")
        ),
        *(nowhere_behind(metric, ADAPTIVE, by=0.02) for metric in ("heldout", "frechet")),
    ),
)
"""The paper trains on all. Three of the targets are in the map as well, which has other lengths and a smaller model too."""
