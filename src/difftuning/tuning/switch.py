"""Modules that a tuner adds to a network, and their one switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class Switch(nn.Module):
    """A module that acts while `on`; hooks ask before they call it."""

    on = True


def added(network: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The parameters of all modules that were added under a name."""
    return {key: value for key, value in network.named_parameters() if f".{name}." in f".{key}"}


@contextmanager
def switched_off(network: nn.Module) -> Iterator[None]:
    """Within the context none of the added modules acts."""
    switches = [module for module in network.modules() if isinstance(module, Switch)]
    try:
        for switch in switches:
            switch.on = False
        yield
    finally:
        for switch in switches:
            switch.on = True
