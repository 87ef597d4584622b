"""Putting named tensors into a network, with every name that does not fit in the message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from difftuning.errors import ModelError

LISTED = 16
"""Names that a message lists."""


def put(made: Any, config: Mapping[str, Any], weights: Mapping[str, Tensor], source: str) -> nn.Module:
    """A network of a diffusers class with these weights, as float32.

    Args:
        made: the class.
        config: its arguments.
        weights: by name, all that the network has and no others.
        source: for messages.

    Raises:
        ModelError: weights are missing, left over or of another shape.
    """
    with torch.device("meta"):  # nothing is drawn, and no size that a file claims takes memory
        expected = {name: value.shape for name, value in made(**config).state_dict().items()}
    wrong = {
        "missing": sorted(expected.keys() - weights.keys()),
        "left over": sorted(weights.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(shape)}"
            for name, shape in sorted(expected.items())
            if name in weights and weights[name].shape != shape
        ],
    }
    if any(wrong.values()):
        told = "; ".join(f"{what}: {_listed(names)}" for what, names in wrong.items() if names)
        raise ModelError(f"{source} does not hold the weights of a {made.__name__} of its sizes; {told}")
    network: nn.Module = made(**config)
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    return network.eval()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
