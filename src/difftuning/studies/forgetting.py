"""Fig. 1: the last steps given back to the pretrained model."""

from __future__ import annotations

from difftuning.studies.axes import BESIDE, DIFF_TUNING, FINETUNE, METHODS, MICRO, RETENTION, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead_of_itself

STUDY = Study(
    name="forgetting",
    title="The chain of forgetting",
    source="Fig. 1",
    claim="Given the last tenth of the steps, the pretrained model is as good as the fine-tuned one; given more, it is worse.",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, {**METHODS, **BESIDE}, seeds=(0,)),
    down="share",
    metrics=("swap_kid", "swap_frechet"),
    swap=True,
    pictures="A row is one noise, a column the share of the last steps that go to the pretrained model; seed 0.",
    claims=tuple(
        ahead_of_itself("swap_kid", "share", share, base, method)
        for method in (FINETUNE, DIFF_TUNING, RETENTION)
        for share, base in ((0.1, 0), (0.1, 0.5))
    ),
)
