"""Norms without weights of their own, and the linear layers that modulate them (adaLN), into which weights can be folded.

    shift, scale, ... = Linear(SiLU(c)) in chunks         y = norm(x) * (1 + scale) + shift

With an affine norm, norm(x) * w + b, the answer is that of `scale' = w (1 + scale) - 1` and `shift' = shift + b (1 + scale)`:
linear in the same c, so it is a change of that layer's rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from difftuning.errors import ModelError


@dataclass(frozen=True)
class Modulation:
    """Which rows of a linear layer shift and scale a norm.

    Attributes:
        linear: the layer.
        shift: which chunk of its answer, as wide as the norm, is the shift.
        scale: which is the scale.
    """

    linear: nn.Linear
    shift: int
    scale: int


_OF_CLASS = {"AdaLayerNormZero": (0, 1), "AdaLayerNormZeroSingle": (0, 1), "AdaLayerNormContinuous": (1, 0)}
"""diffusers' modulated norms, with the chunks of shift and scale of their `linear`."""
_AFTER_ATTENTION = {"norm2": "norm1", "norm3": "norm1", "norm2_context": "norm1_context"}
"""A block's norm in front of the feed-forward layer, and the modulated norm whose chunks 3 and 4 are its own."""


def modulations(network: nn.Module) -> dict[str, Modulation]:
    """For every LayerNorm without weights, by name, what modulates it.

    Raises:
        ModelError: one of them is not modulated in a known way.
    """
    modules: dict[str, Any] = dict(network.named_modules())
    found: dict[str, Modulation] = {}
    for name, norm in modules.items():
        if not isinstance(norm, nn.LayerNorm) or norm.weight is not None:
            continue
        parent, _, own = name.rpartition(".")
        holder = modules[parent]
        before = getattr(holder, _AFTER_ATTENTION.get(own, ""), None)
        if type(holder).__name__ in _OF_CLASS and own == "norm":
            found[name] = Modulation(holder.linear, *_OF_CLASS[type(holder).__name__])
        elif type(before).__name__ == "AdaLayerNormZero":
            found[name] = Modulation(before.linear, 3, 4)
        elif own == "norm_out" and hasattr(holder, "proj_out_1"):  # DiT
            found[name] = Modulation(holder.proj_out_1, 0, 1)
        else:
            raise ModelError(
                f"the norm {name} is not modulated in a known way, so what is learned on it cannot be folded into the "
                "weights; take another tuner, such as lora or bitfit"
            )
    return found


@torch.no_grad()
def fold_affine(where: Modulation, weight: Tensor, bias: Tensor) -> None:
    """Fold the weight and the bias of a norm, (D,) each, into what modulates it."""
    width = len(weight)
    shift, scale = (slice(width * chunk, width * (chunk + 1)) for chunk in (where.shift, where.scale))
    rows, offset = where.linear.weight, where.linear.bias
    rows[shift] += bias[:, None] * rows[scale]
    offset[shift] += bias * (1 + offset[scale])
    rows[scale] *= weight[:, None]
    offset[scale] = weight * (1 + offset[scale]) - 1
