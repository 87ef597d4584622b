"""Weight drift as the paper measures it under the name of EWC (Fig. 5): the squared distance ||theta - theta0||^2.

EWC itself weighs each parameter by its Fisher information F (see `objectives.anchor`): sum_i F_i (theta_i - theta0_i)^2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor


def weight_drift(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], importance: Mapping[str, Tensor] | None = None
) -> dict[str, float]:
    """The drift of each parameter that both have in one shape; their sum is the total.

    A class table that changed its size is left out: its rows are other classes.

    Args:
        before: theta0 by name.
        after: theta by name.
        importance: of each entry, in the shapes of `before`; None for 1.
    """
    found = {}
    for name, value in before.items():
        if name in after and after[name].shape == value.shape:
            moved = (after[name].detach().cpu().double() - value.detach().cpu().double()).square()
            weighted = moved if importance is None else moved * importance[name].to(moved)
            found[name] = float(weighted.sum())
    return found


def drift_by_layer(drift: Mapping[str, float]) -> dict[str, float]:
    """The drift of each layer group, summed, in the order of the parameters.

    A group is what a parameter's name says up to its first number (`transformer_blocks.3`), else its first part
    (`pos_embed`): blocks one by one, everything around them by its name.
    """
    groups: dict[str, float] = {}
    for name, value in drift.items():
        numbered = re.match(r"(?:[^.]+\.)*?\d+(?=\.|$)", name)
        group = numbered.group() if numbered else name.split(".")[0]
        groups[group] = groups.get(group, 0.0) + value
    return groups
