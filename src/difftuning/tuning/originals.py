"""Parameters that move in place, and the values they had before (p0), so that their change can be taken back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Originals:
    """p0 of some parameters; what was learned is p - p0."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = dict(parameters)
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in parameters.items()}

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Within the context the parameters carry p0; what they carried comes back after it, bit for bit.

        Autocast keeps what it has cast by parameter and not by value, so that it would go on with the weights of before.
        """
        learned = {name: parameter.data for name, parameter in self._parameters.items()}
        try:
            for name, parameter in self._parameters.items():
                # Another device since then: p0 follows.
                self.values[name] = self.values[name].to(parameter.device)
                parameter.data = self.values[name]
            torch.clear_autocast_cache()
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = learned[name]
            torch.clear_autocast_cache()
