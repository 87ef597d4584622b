"""DiffFit (Xie et al. 2023): all biases, all norms made affine, and scales gamma in the first blocks.

    x = x + gate * gamma_1 * Attention(...)        x = x + gate * gamma_2 * FeedForward(...)

with further scales on query, key, value and the output projection. Scales start at 1, added norm weights at 1 and biases at 0, so
a fresh one changes nothing. All of it is linear in what follows or comes before, and so can be folded into the weights exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from difftuning.config.section import Section
from difftuning.errors import ConfigError
from difftuning.tuning.base import Tuner
from difftuning.tuning.blocks import transformer_blocks
from difftuning.tuning.modulation import fold_affine, modulations
from difftuning.tuning.originals import Originals
from difftuning.tuning.switch import Switch, added, switched_off

NAME = "difffit"
"""Under which modules are added."""


class DiffFitConfig(Section):
    """Biases, norms and scales."""

    kind: Literal["difffit"] = "difffit"
    depth: int | None = Field(None, ge=0)
    """How many of the first blocks get scales; null for the first half, which is the paper's 14 of 28."""


class Scale(Switch):
    """A factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Times gamma."""
        return x * self.gamma


class Affine(Switch):
    """The weight and the bias of a norm that has none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Weight * x + bias."""
        return x * self.weight + self.bias


class DiffFit(Tuner):
    """Trains biases and norms where they are, and adds scales and what norms lack under the name `difffit`."""

    def _attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        blocks = list(transformer_blocks(network, "DiffFit").values())
        depth = (len(blocks) + 1) // 2 if self.config.depth is None else self.config.depth
        if depth > len(blocks):
            raise ConfigError(f"tuner.depth={depth} is more than the {len(blocks)} blocks of the model; lower it")
        modulations(network)  # what cannot be folded is refused before it is trained
        norms = {
            name: layer for name, layer in network.named_modules() if isinstance(layer, nn.LayerNorm | nn.GroupNorm)
        }
        own = [f"{name}.weight" for name, norm in norms.items() if norm.weight is not None]
        known = dict(network.named_parameters())
        moving = {name: value for name, value in known.items() if name.endswith(".bias") or name in own}
        self._originals = Originals(moving)
        self._handles: list[Any] = []
        for norm in norms.values():
            if norm.weight is None and isinstance(norm, nn.LayerNorm):
                self._add(norm, Affine(norm.normalized_shape[0]))
        for block in blocks[:depth]:
            for layer, width in _scaled(block):
                self._add(layer, Scale(width))
        return {**moving, **added(network, NAME)}

    def _add(self, layer: nn.Module, change: Switch) -> None:
        setattr(layer, NAME, change)
        self._handles.append(layer.register_forward_hook(_changed))

    @contextmanager
    def _off(self) -> Iterator[None]:
        with self._originals.restored(), switched_off(self.network):
            yield

    @torch.no_grad()
    def _merge(self) -> None:
        where = modulations(self.network)  # refuses before anything is changed
        for name, layer in self.network.named_modules():
            change = getattr(layer, NAME, None)
            if isinstance(change, Scale):
                for linear in _ends(layer):
                    linear.weight.mul_(change.gamma[:, None])
                    if linear.bias is not None:
                        linear.bias.mul_(change.gamma)
            elif isinstance(change, Affine):
                fold_affine(where[name], change.weight, change.bias)
        for handle in self._handles:
            handle.remove()
        for layer in list(self.network.modules()):
            if hasattr(layer, NAME):
                delattr(layer, NAME)


def _attentions(block: Any) -> list[Any]:
    return [part for part in block.children() if hasattr(part, "to_q") and hasattr(part, "to_out")]


def _scaled(block: Any) -> Iterator[tuple[Any, int]]:
    """The layers of a block whose answers get a scale, and how wide these are."""
    for attention in _attentions(block):
        for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]):
            yield layer, layer.out_features
        yield attention, attention.to_out[0].out_features
    yield block.ff, _ends(block.ff)[0].out_features


def _ends(layer: Any) -> list[Any]:
    """The linear layers whose answer is that of a layer."""
    if isinstance(layer, nn.Linear):
        return [layer]
    if hasattr(layer, "to_out"):
        return [layer.to_out[0]]
    return [[part for part in layer.modules() if isinstance(part, nn.Linear)][-1]]


# Not a closure: a copy of the network has scales of its own.
def _changed(layer: Any, given: tuple[Any, ...], answer: Any) -> Any:
    change = getattr(layer, NAME)
    if not change.on:
        return None
    if isinstance(answer, tuple):  # (image, text), of which the image is this layer's own
        return (change(answer[0]), *answer[1:])
    return change(answer)
