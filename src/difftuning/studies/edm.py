"""Table 6: an EDM model of ImageNet's photographs moved to fewer and other ones, psi by the rank of sigma."""

from __future__ import annotations

from difftuning.studies.axes import METHODS, MICRO, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead

_EDM = {method: ("model=edm-photo-16", "training.steps=1000", *overrides) for method, overrides in METHODS.items()}
"""From ImageNet at 16 pixels, as the paper from ImageNet to CIFAR-10; at half the steps of the other studies."""

STUDY = Study(
    name="edm",
    title="EDM, psi by the rank of sigma",
    source="Table 6",
    claim="With psi = Phi((ln sigma - P_mean) / P_std), Diff-Tuning has the lower distance under EDM too.",
    recipe=MICRO,
    cells=cells(("pacs-photo",), _EDM),
    claims=(
        ahead("heldout"),
        ahead("frechet"),
        ahead("kid"),
    ),
)
