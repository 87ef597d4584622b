"""Ten images a class, fifty, or all there are, on every target; and all of them for longer."""

from __future__ import annotations

from difftuning.studies.axes import ADAPTING, ADAPTIVE, BESIDE, DIFF_TUNING, METHODS, MICRO, RETENTION, TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

TEN, FIFTY, ALL, LONG = "10 a class", "50 a class", "all", "all, 8000 steps"
_STEPS = "training.steps=2000"
_IMAGES = {
    TEN: ("data.per_class=10", _STEPS),
    FIFTY: ("data.per_class=50", _STEPS),
    ALL: ("data.per_class=null", _STEPS),
}
_LONG = {LONG: ("data.per_class=null", "training.steps=8000", "training.heldout_every=1000")}
_LONG_TARGETS = ("pacs-photo", "flowers5")
"""Photographs, as most of the paper's targets are; of the first, 220 passes over its images, and of the second 85."""
_METHODS = {**METHODS, **BESIDE, **ADAPTING}
_KEY = "images"

STUDY = Study(
    name="images",
    title="Few images, or all of them",
    source="",
    claim="In 2,000 steps, is retention ahead with as many images as there are, and on which targets? In 8,000 steps?",
    recipe=MICRO,
    cells=(
        *cells(TARGETS, _METHODS, _IMAGES, _KEY, seeds=(0,)),
        *cells(_LONG_TARGETS, _METHODS, _LONG, _KEY, seeds=(0,)),
    ),
    down=_KEY,
    claims=(
        *(
            ahead(metric, method, only=images)
            for images in (ALL, LONG)
            for method in (DIFF_TUNING, RETENTION, ADAPTIVE)
            for metric in ("heldout", "frechet", "kid")
        ),
        *(ahead(metric, method, only=FIFTY) for method in (RETENTION, ADAPTIVE) for metric in ("heldout", "frechet")),
        *(nowhere_behind(metric, ADAPTIVE, by=0.02) for metric in ("heldout", "frechet")),
    ),
)
"""The paper trains on all. Three of the targets are in the map as well, which has other lengths and a smaller model too."""
