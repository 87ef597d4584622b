"""What every way of tuning offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class Tuner(ABC):
    """Picks, or adds, the parameters that training moves."""

    @abstractmethod
    def attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Prepare the network in place and return the trainable parameters by name; all others get no gradient."""
