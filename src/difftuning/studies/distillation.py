"""Table 4: a frozen teacher in the place of the bank."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, METHODS, MICRO, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

STUDY = Study(
    name="distillation",
    title="A teacher in the place of the bank",
    source="Table 4",
    claim="Retention by distillation, with weight 0.05, is far ahead of standard fine-tuning too, and costs more.",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, {**METHODS, "teacher": (*METHODS[DIFF_TUNING], "distillation={weight: 0.05}")}),
    note="A step with a teacher takes a forward pass more, and the teacher lies in memory: `docs/speed.md` and "
    "`docs/how-to/tuners.md` have both, measured beside standard fine-tuning.",
    claims=tuple(
        ahead(metric, method, baseline)
        for method, baseline in (("teacher", FINETUNE), (DIFF_TUNING, "teacher"))
        for metric in ("heldout", "frechet", "kid")
    ),
)
