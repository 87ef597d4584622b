"""What a study is: a claim, and the recipes that decide it. Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from difftuning.studies.claims import Claim


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        method: its name in tables: "finetune", "diff-tuning", ...
        overrides: what is changed in the recipe of the study, as on the command line.
        seed: of the training.
        setting: what else sets the cell apart, for tables: {"tau": 0.3}.
        advised: psi is the one that the same run with tau = 0 advises, which is made first.
        probe: what that run changes besides: `training.steps=600` for a short one.
        stream: a shipped stream and overrides of it, in the place of a single run; `overrides` then change the recipe of every
            phase. Empty for a single run.
    """

    method: str
    overrides: tuple[str, ...]
    seed: int
    setting: Mapping[str, JsonValue] = field(default_factory=dict)
    advised: bool = False
    probe: tuple[str, ...] = ()
    stream: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """One table or figure.

    Attributes:
        name: of its files and on the command line.
        title: a line for people.
        source: where in the paper it comes from; empty where it is ours.
        claim: what the paper says, or what we ask.
        recipe: the shipped recipe that its cells change.
        cells: all of them, those that decide something first.
        down: what tells the lines of its tables apart: "target", or a key of the settings.
        metrics: what its tables show, the first one first.
        note: what else to know before reading its numbers.
        claims: what its rows can confirm or refute, for the page of all results.
        curves: whether the error against the training steps is shown.
        swap: whether the swap curve of each cell is measured.
        leaps: whether the moment is measured at which the ControlNet of each cell begins to obey, by the threshold of the same cell
            with tau = 0.
        pictures: what the pictures on its page show, in a sentence; empty where there are none. They are lines of what the runs of
            the first seed draw, or with `swap` the strips of it.
    """

    name: str
    title: str
    source: str
    claim: str
    recipe: str
    cells: tuple[Cell, ...]
    down: str = "target"
    metrics: tuple[str, ...] = ("heldout", "heldout_best", "frechet", "kid", "precision", "recall", "memorised")
    note: str = ""
    claims: tuple[Claim, ...] = ()
    curves: bool = False
    swap: bool = False
    leaps: bool = False
    pictures: str = ""

    def __post_init__(self) -> None:
        """A picture is named by its method and target alone."""
        if self.pictures and any(cell.advised or cell.stream or cell.setting for cell in self.cells):
            raise ValueError(
                f"the study {self.name!r} shows pictures, but not of cells with a setting, advised or of streams"
            )

    @property
    def asked(self) -> str:
        """Its claim as pages say it, with where the paper says so."""
        return f"The paper ({self.source}): {self.claim}" if self.source else self.claim

    def quick(self) -> Study:
        """Its smallest form, which only shows that everything works: a cell of each kind, on one target, with few steps."""
        kept: dict[tuple[str, str], Cell] = {}
        short = (*SHORT, *SHORT_CONTROL) if self.leaps else SHORT
        for cell in self.cells:
            setting = {} if self.down == "target" else dict(cell.setting)
            small = replace(
                cell,
                overrides=(*QUICK, *map(_short, cell.overrides), *short),
                probe=(*map(_short, cell.probe), *SHORT) if cell.probe else (),
            )
            kept.setdefault((cell.method, str(setting)), small)
        return replace(self, cells=tuple(kept.values()))


QUICK = (
    "training.steps=8",
    "bank.count=32",
    "bank.steps=2",
    "sampling.steps=2",
    "evaluation.samples=32",
    "evaluation.heldout_draws=8",
)
"""Before what a cell sets itself, so that what a study varies still varies."""
SHORT = ("training.heldout_every=2",)
"""Behind it."""
SHORT_CONTROL = ("control.measure_every=2", "control.items=4")
"""Where a ControlNet trains."""


def _short(override: str) -> str:
    """A length that a cell sets, divided by 250; all else as it is."""
    key, _, value = override.partition("=")
    return f"{key}={int(value) // 250}" if key == "training.steps" else override
