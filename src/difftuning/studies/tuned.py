"""Every target at the setting of the sweep where the best checkpoint of standard fine-tuning is lowest."""

from __future__ import annotations

from difftuning.studies.axes import ADAPTING, ADAPTIVE, BESIDE, DIFF_TUNING, METHODS, MICRO, RETENTION, TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, nowhere_behind

_GENTLE = ("optim.lr=0.0002", "ema.decay=0.99")
"""By the mean of the two targets of `settings`."""

STUDY = Study(
    name="tuned",
    title="Every target at a learning rate that is gentler",
    source="",
    claim="Where the learning rate is the one at which the best checkpoint of standard fine-tuning is lowest, what is left to win?",
    recipe=MICRO,
    cells=cells(
        TARGETS, {name: (*form, *_GENTLE) for name, form in {**METHODS, **BESIDE, **ADAPTING}.items()}, seeds=(0, 1)
    ),
    note="The other studies train at 5e-4, where standard fine-tuning has the lowest Frechet distance after the last step, in the "
    "mean of the two targets of the study `settings`; at the 2e-4 of these runs its held-out error is lower, at the last step and "
    "at its lowest.",
    claims=(
        *(
            ahead(metric, method)
            for method in (DIFF_TUNING, RETENTION, ADAPTIVE)
            for metric in ("heldout_best", "heldout", "frechet", "kid")
        ),
        *(nowhere_behind(metric, ADAPTIVE, by=0.02) for metric in ("heldout_best", "heldout", "frechet")),
    ),
)
