"""Compiled blocks: one compilation serves all blocks of a kind, and the names of parameters stay as they are."""

from __future__ import annotations

from torch import nn


def compile_blocks(network: nn.Module) -> None:
    """Compile the blocks that diffusers says repeat, else what stands in the network's lists; nothing else of it."""
    repeated = getattr(network, "_repeated_blocks", None)
    for name, module in network.named_modules():
        listed = isinstance(network.get_submodule(name.rpartition(".")[0]), nn.ModuleList)
        if type(module).__name__ in repeated if repeated else listed and name.count(".") == 1:
            module.compile()
