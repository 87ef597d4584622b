"""What every way of tuning offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from difftuning.errors import CheckpointError
from difftuning.tuning.originals import Originals


class Tuner(ABC):
    """Picks, or adds, the parameters that training moves; one tuner is for one network.

    A subclass says what it adds (`_attach`), how it is kept from acting (`_off`), and how it is folded into ordinary weights
    (`_merge`).

    Attributes:
        config: its settings.
        parameters: what moves, by the names in the network; empty before `attach`.
        mergeable: whether it can become ordinary weights.
        reversible: whether it can be switched off.
    """

    mergeable: ClassVar[bool] = True
    reversible: ClassVar[bool] = True

    def __init__(self, config: BaseModel) -> None:
        self.config: Any = config
        self.parameters: dict[str, nn.Parameter] = {}

    def attach(self, network: nn.Module, besides: Sequence[str] = (), seed: int = 0) -> dict[str, nn.Parameter]:
        """Prepare the network in place and return the trainable parameters by name; all others get no gradient.

        Args:
            network: to tune; the tuner keeps it.
            besides: names of parameters that train as they are, such as a class table with new rows.
            seed: of what is initialised at random.

        Raises:
            ConfigError: the settings do not fit the network.
            ModelError: the network has no place for this tuner.
        """
        network.requires_grad_(False)
        known = dict(network.named_parameters())
        self.network = network
        self._besides = Originals({name: known[name] for name in besides} if self.reversible else {})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            own = self._attach(network)
        network.to(
            next(iter(known.values())).device
        )  # what was added is made on the CPU, so that it is the same everywhere
        now = dict(network.named_parameters())
        own = {name: now[name] for name in own}
        self.parameters = {**own, **{name: known[name] for name in besides}}
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        return self.parameters

    @abstractmethod
    def _attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Add what is needed, and return it by its names in the network."""

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within the context the network answers as before `attach`, bit for bit; the tuned values come back after it.

        Raises:
            NotImplementedError: the tuner is not reversible.
        """
        with self._besides.restored(), self._off():
            yield

    @abstractmethod
    @contextmanager
    def _off(self) -> Iterator[None]:
        """`off` for what `_attach` added."""

    def merge(self) -> None:
        """Fold what was learned into ordinary weights, for good: the network is a plain one again.

        Raises:
            ModelError: that cannot be done; the network is left as it is.
        """
        self._merge()
        self.network.requires_grad_(False)

    @abstractmethod
    def _merge(self) -> None:
        """`merge` for what `_attach` added."""

    def state(self) -> dict[str, Tensor]:
        """What was learned, by name, detached."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave, on a network to which a tuner of the same settings is attached.

        Raises:
            CheckpointError: the names or shapes are others.
        """
        found, wanted = (
            {name: tuple(value.shape) for name, value in both.items()} for both in (state, self.parameters)
        )
        if found != wanted:
            names = sorted({name for name in {*found, *wanted} if found.get(name) != wanted.get(name)})
            first = names[0]
            raise CheckpointError(
                f"{len(names)} tensors are not those of this tuner, the first is {first} ({found.get(first, 'missing')}, "
                f"wanted {wanted.get(first, 'none')}); attach it with the settings and classes that it was trained with"
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(state[name])
