"""Fig. 6d: how large the bank must be."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, METHODS, MICRO, cells
from difftuning.studies.base import Study
from difftuning.studies.claims import ahead, ahead_at, ahead_at_best, ahead_of_itself

SIZES = (50, 250, 1_250, 5_000)
"""1 %, 5 %, 25 % and all of the bank of the other studies; beside it, as many images that the source model was trained on."""
REAL = "real images"

STUDY = Study(
    name="memory",
    title="The size of the bank",
    source="Fig. 6d",
    claim="Even the smallest bank is better than none. Real images of the source are worse than drawn ones.",
    recipe=MICRO,
    cells=(
        *cells(["pacs-photo"], {FINETUNE: METHODS[FINETUNE]}, {"0": ()}, "bank"),
        *cells(
            ["pacs-photo"], {DIFF_TUNING: METHODS[DIFF_TUNING]}, {str(n): (f"bank.count={n}",) for n in SIZES}, "bank"
        ),
        *cells(
            ["pacs-photo"],
            {REAL: (*METHODS[DIFF_TUNING], "bank.images=imagenet200")},
            {str(n): (f"bank.count={n}",) for n in SIZES[-1:]},
            "bank",
        ),
    ),
    down="bank",
    claims=(
        *(ahead_at(metric, "bank", (DIFF_TUNING, SIZES[0]), (FINETUNE, 0)) for metric in ("heldout", "frechet")),
        ahead_at_best("heldout"),
        ahead_at_best("frechet"),
        ahead_of_itself("frechet", "bank", SIZES[-1], SIZES[0], DIFF_TUNING),
        ahead("heldout", DIFF_TUNING, REAL),
        ahead("frechet", DIFF_TUNING, REAL),
    ),
)
