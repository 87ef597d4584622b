"""Table 4: a frozen teacher in the place of the bank."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, METHODS, MICRO, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

STUDY = Study(
    name="distillation",
    title="A teacher in the place of the bank",
    source="Table 4",
    claim="Retention by distillation, with weight 0.05, is far ahead of standard fine-tuning too, and costs more.",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, {**METHODS, "teacher": (*METHODS[DIFF_TUNING], "distillation={weight: 0.05}")}),
    claims=(
        ahead("heldout", "teacher"),
        ahead("heldout", baseline="teacher"),
    ),
)
