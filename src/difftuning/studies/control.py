"""Fig. 3, 4, 10, Table 6: at which step a ControlNet begins to obey."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, METHODS, SEEDS
from difftuning.studies.base import Cell, Study
from difftuning.studies.claims import ahead

CONTROLS = ("edge", "sketch", "segmentation")
"""The kinds whose maps are made of the image alone."""

STUDY = Study(
    name="control",
    title="The moment of sudden convergence",
    source="Fig. 4",
    claim="A ControlNet trained with retention begins to obey after 24 % fewer steps.",
    recipe="studies/control",
    cells=tuple(
        Cell(method, (f"control.kind={kind}", *overrides), seed, {"control": kind})
        for seed in SEEDS
        for kind in CONTROLS
        for method, overrides in METHODS.items()
    ),
    down="control",
    metrics=("convergence", "convergence_reached", "convergence_sudden", "consistency", "heldout", "frechet"),
    claims=(
        ahead("convergence"),
        ahead("convergence", by=0.24),
        ahead("heldout", DIFF_TUNING, FINETUNE),
    ),
    leaps=True,
)
