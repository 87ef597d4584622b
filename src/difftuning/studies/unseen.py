"""Whether what held-out images show, which an adaptive psi looks at, holds on images that decided nothing."""

from __future__ import annotations

from difftuning.studies.axes import ADAPTING, ADAPTIVE, BESIDE, DIFF_TUNING, METHODS, MICRO, RETENTION, TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

STUDY = Study(
    name="unseen",
    title="On images that decided nothing",
    source="",
    claim="Does the order of the methods on held-out images stay the same on those that a few-shot split leaves over?",
    recipe=MICRO,
    cells=cells(
        TARGETS,
        {name: (*form, "evaluation.part=test") for name, form in {**METHODS, **BESIDE, **ADAPTING}.items()},
        seeds=(0,),
    ),
    metrics=("heldout", "frechet", "kid", "memorised"),
    claims=(
        *(ahead(metric, method) for method in (DIFF_TUNING, RETENTION, ADAPTIVE) for metric in ("heldout", "frechet")),
        nowhere_behind("heldout", ADAPTIVE, by=0.02),
    ),
)
