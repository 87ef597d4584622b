"""Table 2, Fig. 3, 4, Table 7: at which step a ControlNet begins to obey."""

from __future__ import annotations

from difftuning.studies.axes import DIFF_TUNING, FINETUNE, METHODS, SEEDS
from difftuning.studies.base import Cell, Study
from difftuning.studies.claims import ahead

CONTROLS = {
    **{kind: (f"control.kind={kind}",) for kind in ("edge", "sketch", "segmentation")},
    # An icon as a cushion, for which no scene is needed.
    "depth": ("control.kind=depth", "control.annotator=module:difftuning.data.relief:Relief"),
    # Learned later than the others.
    "normal": ("control.kind=normal", "control.annotator=module:difftuning.data.relief:Normals", "training.steps=1000"),
}
"""Of icons, whose maps a rule makes of an image."""


def _rooms(kind: str, annotator: str) -> tuple[str, ...]:
    return (
        f"control.kind={kind}",
        f"control.annotator=module:difftuning.data.room_depth:{annotator}",
        "model=sd-photo-32",
        "data.target=nyu-depth",
        "data.prompt=a photo of a room",
        # What the base draws under it, so that a map of what is drawn is one of a room.
        "text.default_prompt=a photo of a room",
        # Larger steps over more images, in the time of the others by fewer measurements.
        "training.batch_size=8",
        "optim.lr=5e-4",
        "control.measure_every=50",
    )


ROOMS = {"depth of rooms": _rooms("depth", "Depth"), "normals of rooms": _rooms("normal", "Normals")}
"""Of photographs of rooms, whose maps a network guesses; on one seed, since nothing is learned from them."""

STUDY = Study(
    name="control",
    title="The moment of sudden convergence",
    source="Fig. 4",
    claim="A ControlNet trained with retention begins to obey after 24 % fewer steps.",
    recipe="studies/control",
    cells=tuple(
        Cell(method, (*changes, *overrides), seed, {"control": name})
        for kinds, seeds in ((CONTROLS, SEEDS), (ROOMS, SEEDS[:1]))
        for seed in seeds
        for name, changes in kinds.items()
        for method, overrides in METHODS.items()
    ),
    down="control",
    metrics=("convergence", "convergence_reached", "convergence_sudden", "consistency", "heldout", "frechet"),
    claims=(
        ahead("convergence"),
        ahead("convergence", by=0.24),
        ahead("heldout", DIFF_TUNING, FINETUNE, without=ROOMS),
    ),
    leaps=True,
)
