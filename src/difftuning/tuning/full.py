"""Full fine-tuning: every parameter moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from torch import nn

from difftuning.config.section import Section
from difftuning.tuning.base import Tuner


class FullConfig(Section):
    """Every parameter moves."""

    kind: Literal["full"] = "full"


class Full(Tuner):
    """Trains all parameters; buffers, such as a DiT's fixed position table, stay.

    It keeps no second copy of the weights, so it cannot be switched off: load the pretrained model beside it.
    """

    reversible: ClassVar[bool] = False

    def _attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """All parameters, a shared one once."""
        return dict(network.named_parameters())

    @contextmanager
    def _off(self) -> Iterator[None]:
        raise NotImplementedError("full fine-tuning keeps no copy of the pretrained weights; load them beside it")
        yield

    def _merge(self) -> None:
        """They are ordinary weights."""
