"""Some of the model's own parameters move, picked by name: BitFit and everything of its kind.

BitFit (Ben Zaken et al. 2022) trains all biases. p0 of the moving parameters is kept beside them, so what was learned, p - p0, can
be switched off; nothing is added to the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pydantic import Field
from torch import nn

from difftuning.config.section import Section
from difftuning.tuning.base import Tuner
from difftuning.tuning.originals import Originals
from difftuning.tuning.patterns import matching


class DeltaConfig(Section):
    """The model's own parameters of some names move."""

    kind: Literal["delta"] = "delta"
    parameters: tuple[str, ...] = Field(min_length=1)
    """Patterns of their names, `*` for anything: ["*.attn*.weight"], ["*norm*"]."""


class BitFitConfig(Section):
    """All biases move."""

    kind: Literal["bitfit"] = "bitfit"
    parameters: tuple[str, ...] = Field(("*.bias",), min_length=1)
    """Patterns of their names."""


class DeltaParameters(Tuner):
    """Trains the parameters that its patterns match, a shared one once."""

    def _attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        known = dict(network.named_parameters())
        chosen = {name: known[name] for name in matching(known, self.config.parameters, "parameter")}
        self._originals = Originals(chosen)
        return chosen

    @contextmanager
    def _off(self) -> Iterator[None]:
        with self._originals.restored():
            yield

    def _merge(self) -> None:
        """They are ordinary weights."""
