"""What guidance the bank is drawn with."""

from __future__ import annotations

from difftuning.studies.axes import BESIDE, MICRO, RETENTION, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead_of_itself

SCALES = (1.0, 1.5, 3.0)
_KEY = "guidance of the bank"

STUDY = Study(
    name="bank-guidance",
    title="The guidance of the bank",
    source="",
    claim="Does it matter whether the bank is drawn without guidance, with some, or with much?",
    recipe=MICRO,
    cells=cells(
        TUNING_TARGETS, BESIDE, {f"{scale:g}": (f"bank.guidance={scale:g}",) for scale in SCALES}, _KEY, seeds=(0,)
    ),
    down=_KEY,
    claims=tuple(
        ahead_of_itself(metric, _KEY, scale, SCALES[1], RETENTION)
        for scale in (SCALES[0], SCALES[2])
        for metric in ("heldout", "frechet", "kid")
    ),
)
"""Of the method that trains with the whole bank from the first step on."""
