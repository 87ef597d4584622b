"""Section B.2 and the authors' code: three ways to make psi and xi act."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, METHODS, MICRO, TUNING_TARGETS, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_TAU_1 = METHODS[DIFF_TUNING]
_WAYS = {
    "finetune": METHODS["finetune"],
    DIFF_TUNING: _TAU_1,
    "timestep (the authors' code)": (*_TAU_1, "realisation.kind=timestep"),
    "weight": (*_TAU_1, "realisation.kind=weight"),
    "source, stratified": (*_TAU_1, "realisation.stratified=true"),
}

STUDY = Study(
    name="realisation",
    title="Source, timestep, weight: how psi and xi act",
    source="App. B.2",
    claim="Weighted losses are unstable, so the source of a sample is drawn by its noise level.",
    recipe=MICRO,
    cells=cells(TUNING_TARGETS, _WAYS),
    claims=(
        ahead("heldout", baseline="timestep (the authors' code)"),
        ahead("heldout", baseline="weight"),
    ),
)
