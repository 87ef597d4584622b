"""What a run is made from, as digests: a checkpoint goes on only in the run that it is of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from difftuning.errors import CheckpointError


@dataclass(frozen=True)
class Identity:
    """The digests of a run.

    Attributes:
        digests: by name; they go into each checkpoint.
        formerly: what else a checkpoint after so many steps may have in the place of some of them.
        differs: what is not as it was, for the message; asked only when a digest does not agree.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    formerly: Callable[[int], Mapping[str, Collection[str]]] = lambda step: {}
    differs: Callable[[], str] = lambda: ""

    def check(self, checkpoint: Path, state: Mapping[str, Any]) -> None:
        """See that a checkpoint with this state is of the same run.

        Raises:
            CheckpointError: it is of another.
        """
        formerly = self.formerly(int(state["step"]))
        for key, value in self.digests.items():
            # Format 1 does not name the model.
            if key in state and state[key] not in (value, *formerly.get(key, ())):
                raise CheckpointError(
                    f"{checkpoint} was made with another {key.replace('_', ' ')} ({state[key]}, now {value}{self.differs()}); "
                    "give the run another `out`, or go back to the recipe that is saved there"
                )
