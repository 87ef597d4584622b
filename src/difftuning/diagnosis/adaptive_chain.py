"""Coefficients from measurement without a probe: psi follows the held-out error of the training itself.

What `advise` reads from a finished standard fine-tuning, this reads from what has been measured so far. In a bin whose error still
falls, what is to be gained is not known yet, and training is standard fine-tuning: retention begins where the error has turned. A
trial that counted the gains of falling bins retained too early in short trainings. Once the mean error has risen again, retention
beside the whole target comes to its whole weight; trials with a fifth and with a half of it ended with larger errors. Ours, not the
paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from difftuning.coefficients.chain import ChainOfForgetting, chain_from
from difftuning.coefficients.families import Constant, Measured
from difftuning.diagnosis.advise import LEAST_RETENTION, measured_psi
from difftuning.errors import CheckpointError


@dataclass
class AdaptiveChain:
    """The chain of forgetting of each step, from the held-out errors by u that were measured at least a step before it.

    The batch of a step may be made while the step before it is under way, and is the same then.

    Attributes:
        whole_target: whether retention comes beside the whole weight of the target.
        curves: (steps done, error in equal bins of u), in order; the first one is the pretrained model's.
    """

    whole_target: bool = False
    curves: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    _made: dict[int, ChainOfForgetting] = field(default_factory=dict, repr=False)

    def see(self, step: int, errors: Sequence[float]) -> None:
        """Take the held-out errors after `step` steps, in the place of later ones."""
        self.curves = [*(curve for curve in self.curves if curve[0] < step), (step, tuple(errors))]
        self._made = {}

    def at(self, step: int, /) -> ChainOfForgetting:
        """The chain of the step after `step` steps."""
        known = [errors for when, errors in self.curves if when < step]
        if len(known) not in self._made:
            psi = Measured(self._measured(known)) if len(known) > 1 else Constant(1.0)
            self._made[len(known)] = chain_from(psi, self.whole_target)
        return self._made[len(known)]

    def _measured(self, known: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
        least = 1.0 if self.whole_target else LEAST_RETENTION
        return measured_psi(known[0], known[1:], goes_on=True, least_retention=least)

    @property
    def uses_bank(self) -> bool:
        """Whether it may come to retain something: yes, whatever has been measured."""
        return True

    def state(self) -> list[list[Any]]:
        """What a checkpoint keeps."""
        return [[step, list(errors)] for step, errors in self.curves]

    def take(self, state: Any) -> None:
        """Go on from what a checkpoint kept.

        Raises:
            CheckpointError: it kept nothing.
        """
        if not isinstance(state, list):
            raise CheckpointError("the checkpoint does not hold the held-out errors that psi is made from")
        self.curves, self._made = [(int(step), tuple(map(float, errors))) for step, errors in state], {}
