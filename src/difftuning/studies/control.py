"""Fig. 3, 4, 10, Table 6: at which step a ControlNet begins to obey."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, METHODS, SEEDS
from difftuning.studies.base import Cell, Study
from difftuning.studies.claims import ahead

CONTROLS = ("edge", "sketch", "segmentation")
"""Of icons: the kinds whose maps a rule makes of an image."""
ROOMS = {"depth": "Depth", "normal": "Normals"}
"""Of photographs of rooms: the kinds whose maps a network guesses, and which."""


def _rooms(annotator: str) -> tuple[str, ...]:
    return (
        "model=sd-photo-32",
        "data.target=nyu-depth",
        "data.prompt=a photo of a room",
        # What the base draws under it, so that a map of what is drawn is one of a room.
        "text.default_prompt=a photo of a room",
        f"control.annotator=module:difftuning.data.room_depth:{annotator}",
        # Rooms are learned slowly: larger steps over more images, in the time of the others by fewer measurements.
        "training.batch_size=8",
        "optim.lr=5e-4",
        "control.measure_every=50",
    )


STUDY = Study(
    name="control",
    title="The moment of sudden convergence",
    source="Fig. 4",
    claim="A ControlNet trained with retention begins to obey after 24 % fewer steps.",
    recipe="studies/control",
    cells=tuple(
        Cell(method, (*changes, f"control.kind={kind}", *overrides), seed, {"control": kind})
        for seed in SEEDS
        for kind, changes in (
            *((kind, ()) for kind in CONTROLS),
            *((kind, _rooms(name)) for kind, name in ROOMS.items()),
        )
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
