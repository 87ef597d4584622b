"""One objective in every family: the demo with another source model, each family's own example."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, METHODS, SEEDS
from difftuning.studies.base import Cell, Study
from difftuning.studies.claims import ahead, nowhere_behind

_MODELS = {
    "flow matching": "flow-icons-32",
    "EDM": "edm-icons-32",
    "Stable Diffusion": "sd-icons-32",
}
"""The zoo's other families: of the DiT under DDPM, three runs of the demo itself are in `demo.json`."""
_METHODS = {FINETUNE: METHODS[FINETUNE], DIFF_TUNING: ()}
"""Diff-Tuning by the psi of the demo, u ** 0.3, in all families: on the clock it is the same rule."""

STUDY = Study(
    name="families",
    title="One objective in every family",
    source="",
    claim="On the forgetting clock one psi serves flow matching, EDM and text-to-image as it does DDPM.",
    recipe="demo",
    cells=tuple(
        Cell(method, (f"model={model}", "training.steps=600", *overrides), seed, {"family": family})
        for seed in SEEDS
        for family, model in _MODELS.items()
        for method, overrides in _METHODS.items()
    ),
    down="family",
    metrics=("heldout", "heldout_best", "heldout_bank", "frechet", "kid", "precision", "recall", "memorised"),
    claims=(
        ahead("heldout"),
        nowhere_behind("heldout", DIFF_TUNING),
        ahead("frechet"),
        ahead("kid"),
    ),
)
