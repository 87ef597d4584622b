"""Weight drift as the paper measures it under the name of EWC (Fig. 5): the squared distance ||theta - theta0||^2."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def weight_drift(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """The drift of each parameter that both have in one shape.

    A class table that changed its size is left out: its rows are other classes.
    """
    return {
        name: float((after[name].detach().double() - value.detach().double()).square().sum())
        for name, value in before.items()
        if name in after and after[name].shape == value.shape
    }
