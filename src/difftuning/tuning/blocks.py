"""Where the transformer blocks of a network are, told from their parts and not from their class.

diffusers' blocks (BasicTransformerBlock of DiT, PixArt and the UNets, JointTransformerBlock of SD3, FluxTransformerBlock) hold an
attention and a feed-forward layer `ff`; in blocks with two streams the text has a `ff_context` besides.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from difftuning.errors import ModelError


def transformer_blocks(network: nn.Module, tuner: str) -> dict[str, Any]:
    """The blocks by name, in order.

    Raises:
        ModelError: there are none.
    """
    found = {
        name: module for name, module in network.named_modules() if isinstance(getattr(module, "ff", None), nn.Module)
    }
    if not found:
        kinds = ", ".join(sorted({type(module).__name__ for module in network.children()}))
        raise ModelError(
            f"{tuner} works on transformer blocks, and {type(network).__name__} has none (it has {kinds}); "
            "use tuner.kind=lora, bitfit, or full"
        )
    return found


def feed_forwards(network: nn.Module, tuner: str) -> dict[str, Any]:
    """The feed-forward layers of all blocks by name, that of the text stream too where there is one."""
    return {
        f"{name}.{part}": layer
        for name, block in transformer_blocks(network, tuner).items()
        for part in ("ff", "ff_context")
        if isinstance(layer := getattr(block, part, None), nn.Module)
    }


def width_of(layer: nn.Module) -> int:
    """What a feed-forward layer takes and gives: the inputs of its first linear part."""
    return next(part.in_features for part in layer.modules() if isinstance(part, nn.Linear))
