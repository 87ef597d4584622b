"""Compiled blocks: one compilation serves all blocks of a kind, and the names of parameters stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from difftuning.errors import ConfigError


def compile_blocks(network: nn.Module) -> None:
    """Compile the blocks that diffusers says repeat, else what stands in the network's lists; nothing else of it.

    Raises:
        ConfigError: it has neither.
    """
    for block in _blocks(network):
        block.compile()


class CompiledBlocks:
    """The same for a while: the blocks of a network are compiled ones within `inside()`, and as they were again after it."""

    def __init__(self, network: nn.Module) -> None:
        self._compiled = [(block, torch.compile(block._call_impl)) for block in _blocks(network)]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Where the blocks are compiled."""
        before: list[Any] = [block._compiled_call_impl for block, _ in self._compiled]
        try:
            for block, call in self._compiled:
                block._compiled_call_impl = call  # what `nn.Module.compile` sets, and nothing public takes back
            yield
        finally:
            for (block, _), call in zip(self._compiled, before, strict=True):
                block._compiled_call_impl = call


def _blocks(network: nn.Module) -> list[nn.Module]:
    # What trains may be a part of what runs: a ControlNet beside its UNet.
    networks = getattr(network, "networks", (network,))
    found = [block for one in networks for block in _of(one)]
    if not found:
        raise ConfigError(
            f"nothing of a {type(network).__name__} can be compiled; set training.compile and bank.compile to null"
        )
    # Blocks of one class share a limit, and each is compiled by its widths, with and without gradient, training and not.
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 4 * len(found))
    return found


def _of(network: nn.Module) -> list[nn.Module]:
    repeated = getattr(network, "_repeated_blocks", None)

    def is_one(name: str, module: nn.Module) -> bool:
        listed = isinstance(network.get_submodule(name.rpartition(".")[0]), nn.ModuleList)
        return type(module).__name__ in repeated if repeated else listed and name.count(".") == 1

    return [module for name, module in network.named_modules() if is_one(name, module)]
