"""When does retention pay? Distance of the target x images a class x training steps, and the size of the model."""

from __future__ import annotations

from difftuning.studies.axes import (
    ADAPTING,
    ADAPTIVE,
    BESIDE,
    MEASURED_RETENTION,
    METHODS,
    MICRO,
    RETENTION,
    cells,
    with_measured,
)
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

TARGETS = ("pacs-photo", "pacs-cartoon", "openmoji")
"""Near, between and far."""
_IMAGES = {"10 a class": ("data.per_class=10",), "50 a class": ("data.per_class=50",), "all": ("data.per_class=null",)}
_REGIMES = {
    f"{images}, {steps} steps": (*changes, f"training.steps={steps}")
    for images, changes in _IMAGES.items()
    for steps in (500, 2000)
}
_SMALL = {
    "10 a class, 2000 steps, a quarter of the model": (
        "data.per_class=10",
        "training.steps=2000",
        "model=dit-photo-16-small",
    )
}
"""0.5 M parameters instead of 1.9 M, pretrained on as much."""
_METHODS = {**METHODS, **BESIDE, **ADAPTING}

STUDY = Study(
    name="map",
    title="When does retention pay?",
    source="",
    claim="Where is Diff-Tuning ahead of standard fine-tuning, by how much, and is a measured psi ever behind?",
    recipe=MICRO,
    cells=with_measured(
        (
            *cells(TARGETS, _METHODS, _REGIMES, "regime", seeds=(0,)),
            *cells(TARGETS, _METHODS, _SMALL, "regime", seeds=(0,)),
        ),
        MEASURED_RETENTION,
    ),
    down="regime",
    metrics=("heldout", "heldout_best", "frechet", "kid"),
    note="From near to far is the order of what the targets show, photographs, cartoons, icons; no distance between domains was "
    "measured. The smaller model stands in one regime alone. The psi of `measured retention` is advised by the run of standard "
    "fine-tuning beside it, of as many steps, which comes on top; the study `probe` has a shorter one.",
    claims=(
        *(
            claim
            for method in (RETENTION, MEASURED_RETENTION, ADAPTIVE)
            for claim in (
                nowhere_behind("heldout", method, by=0.02),
                ahead("heldout", method),
                ahead("frechet", method),
            )
        ),
        ahead("heldout"),
    ),
)
