"""A source model that was trained twice as long."""

from __future__ import annotations

from difftuning.studies.axes import (
    ADAPTING,
    ADAPTIVE,
    BESIDE,
    FINETUNE,
    METHODS,
    MICRO,
    RETENTION,
    TUNING_TARGETS,
    cells,
)
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, ahead_of_itself

_STEPS = 9_000, 18_000
_SOURCES = {str(_STEPS[0]): (), str(_STEPS[1]): ("model=dit-photo-16-longer",)}
_KEY = "source steps"

STUDY = Study(
    name="source",
    title="A source model trained for longer",
    source="",
    claim="Is there more to retain in a source model that was trained twice as long, and is the gain larger?",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, {**METHODS, **BESIDE, **ADAPTING}, _SOURCES, _KEY, seeds=(0,)),
    down=_KEY,
    claims=(
        *(
            ahead_of_itself(metric, _KEY, _STEPS[1], _STEPS[0], method)
            for method in (FINETUNE, ADAPTIVE)
            for metric in ("heldout_best", "frechet", "kid")
        ),
        *(ahead(metric, method) for method in (RETENTION, ADAPTIVE) for metric in ("heldout", "frechet", "kid")),
    ),
)
