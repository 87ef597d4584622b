"""A stream: the domains in their order, and how the model is kept from forgetting the earlier ones."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from difftuning.config.section import Section
from difftuning.continual.memory import Refresh, Static


class Sequential(Section):
    """Standard fine-tuning, phase after phase: the lower end."""

    kind: Literal["sequential"] = "sequential"


class Joint(Section):
    """Standard fine-tuning on the images of all phases so far: what a stream without forgetting would reach."""

    kind: Literal["joint"] = "joint"


class Replay(Section):
    """Standard fine-tuning on the images of the phase and some real ones of each earlier phase, where these may be kept."""

    kind: Literal["replay"] = "replay"
    per_class: int = Field(2, gt=0)
    """Images of each class of each earlier phase, chosen among those it was trained on."""


class EWC(Section):
    """Standard fine-tuning with a pull to the weights after the phase before, each by what it matters for what that model draws."""

    kind: Literal["ewc"] = "ewc"
    strength: float = Field(10.0, gt=0)
    """Of the pull; see `anchor.strength` of a recipe."""
    draws: int = Field(512, gt=0)
    """Drawn items that the Fisher information is measured on."""


class L2SP(Section):
    """Standard fine-tuning with a pull to the weights after the phase before, all alike."""

    kind: Literal["l2-sp"] = "l2-sp"
    strength: float = Field(1e-3, gt=0)
    """Of the pull; see `anchor.strength` of a recipe."""


Method = Annotated[
    Sequential | Joint | Replay | EWC | L2SP | Static | Refresh,
    Field(discriminator="kind"),
]


class Phase(Section):
    """One domain."""

    name: str = Field(min_length=1, pattern=r"^[^/]+$")
    """For tables, and before its classes where labels are kept apart."""
    changes: tuple[str, ...] = ()
    """What it changes in the recipe, as on the command line: `data.target=...`, or its span of `data.drift`."""


class Stream(Section):
    """Domains one after the other, and one model."""

    name: str = "stream"
    """For tables and pages."""
    out: str = "runs/stream"
    """The folder of the stream; phase k is the run `OUT/phase-k`, and running the same stream again goes on there."""
    recipe: str
    """The recipe of every phase: a file, or the name of a shipped one."""
    changes: tuple[str, ...] = ()
    """What is changed in it for all phases, as on the command line."""
    phases: tuple[Phase, ...] = ()
    """The domains in their order; another one may be added at the end of a finished stream."""
    windows: int | None = Field(None, gt=1, le=1000)
    """In the place of phases: so many equal spans of `data.drift`, one after the other, for a domain without borders."""
    method: Method = Refresh()
    """What keeps it from forgetting."""
    labels: Literal["shared", "apart"] = "shared"
    """A class that two phases name alike: one row of the class table for both, or a row each."""
    distances: Literal["all", "so-far"] = "all"
    """Where samples are judged: on each phase alone and on all so far together, or only on these, which costs less."""

    @model_validator(mode="after")
    def _phases(self) -> Stream:
        if bool(self.phases) == (self.windows is not None):
            raise ValueError("a stream has either phases or windows; give one of the two")
        twice = [name for name, times in Counter(phase.name for phase in self.phases).items() if times > 1]
        if twice:
            raise ValueError(f"phases: {twice[0]!r} stands twice; phases need names of their own")
        return self

    def spans(self) -> tuple[Phase, ...]:
        """The phases; of windows, those that they stand for."""
        if self.windows is None:
            return self.phases
        count, digits = self.windows, len(str(self.windows))
        return tuple(
            Phase(
                name=f"window {place + 1:0{digits}}",
                changes=(f"data.drift.start={place / count}", f"data.drift.stop={(place + 1) / count}"),
            )
            for place in range(count)
        )
