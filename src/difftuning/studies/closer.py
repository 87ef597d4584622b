"""Around the turn: the held-out error measured every 50 steps, where the other studies measure it every 250."""

from __future__ import annotations

from difftuning.studies.axes import ADAPTING, ADAPTIVE, BESIDE, FINETUNE, METHODS, MICRO, RETENTION, TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

_CLOSER = ("training.steps=1000", "training.heldout_every=50")
_METHODS = {FINETUNE: METHODS[FINETUNE], **ADAPTING, **BESIDE}

STUDY = Study(
    name="closer",
    title="Around the turn, looked at closer",
    source="",
    claim="Measured every 50 steps, an adaptive psi begins to retain sooner. Does it come below the best checkpoint of standard "
    "fine-tuning, or does retention from the first step?",
    recipe=MICRO,
    cells=cells(TARGETS, {name: (*overrides, *_CLOSER) for name, overrides in _METHODS.items()}),
    metrics=("heldout_best", "heldout", "frechet", "kid", "precision", "recall", "memorised"),
    curves=True,
    claims=(
        *(
            ahead(metric, method)
            for method in (ADAPTIVE, RETENTION)
            for metric in ("heldout_best", "heldout", "frechet", "kid")
        ),
        *(nowhere_behind(metric, ADAPTIVE, by=0.02) for metric in ("heldout_best", "heldout", "frechet")),
    ),
)
"""Half the steps of `targets`, and no longer: all targets but Fashion-MNIST turn before."""
