"""Ten images a class, fifty, or all there are, on every target."""

from __future__ import annotations

from difftuning.studies.axes import ADAPTING, ADAPTIVE, BESIDE, DIFF_TUNING, METHODS, MICRO, RETENTION, TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

_IMAGES = {"10 a class": ("data.per_class=10",), "50 a class": ("data.per_class=50",), "all": ("data.per_class=null",)}
_FEWER, _BUT_50 = ("10 a class", "50 a class"), ("10 a class", "all")
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
            ahead(metric, method, without=_FEWER)
            for method in (DIFF_TUNING, RETENTION, ADAPTIVE)
            for metric in ("heldout", "frechet", "kid")
        ),
        *(
            ahead(metric, method, without=_BUT_50)
            for method in (RETENTION, ADAPTIVE)
            for metric in ("heldout", "frechet")
        ),
        *(nowhere_behind(metric, ADAPTIVE, by=0.02) for metric in ("heldout", "frechet")),
    ),
)
"""The paper trains on all. Three of the targets are in the map as well, which has other lengths and a smaller model too."""
