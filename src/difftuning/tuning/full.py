"""Full fine-tuning: every parameter moves."""

from __future__ import annotations

from typing import Literal

from torch import nn

from difftuning.config.section import Section
from difftuning.tuning.base import Tuner


class FullConfig(Section):
    """Every parameter moves."""

    kind: Literal["full"] = "full"


class Full(Tuner):
    """Trains all parameters; buffers, such as a DiT's fixed position table, stay."""

    def __init__(self, config: FullConfig) -> None:
        self.config = config

    def attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """All parameters, a shared one once."""
        network.requires_grad_(True)
        return dict(network.named_parameters())
