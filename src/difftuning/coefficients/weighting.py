"""Loss weights over noise levels, which the paper tries alone and with Diff-Tuning (Table 5).

Both are published as weights of the eps error, relative to the plain one of 1:

    P2        1 / (k + SNR)^gamma        Choi et al. 2022, arXiv 2204.00227
    min-SNR   min(SNR, gamma) / SNR      Hang et al. 2023, arXiv 2303.09556

A network that predicts y = a x0 + b eps sees the same error of x_t as `((alpha b - sigma a) / alpha)^2` times that of eps, so
its error is weighted by the eps weight over that factor: min(SNR, gamma) / (SNR + 1) for v, as published.

A network that learns its variance has the variational term weighted too, which moves its variance channels alone; the code of the
paper leaves that term as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from torch import Tensor

from difftuning.config.section import Section
from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess


class P2Config(Section):
    """Less weight on little noise."""

    kind: Literal["p2"] = "p2"
    k: float = Field(1.0, gt=0)
    """Keeps the weight finite where there is no signal."""
    gamma: float = Field(1.0, ge=0)
    """How strongly; 0 weighs the error of eps alike everywhere, whatever the model predicts."""


class MinSNRConfig(Section):
    """No more weight on little noise than on SNR = gamma."""

    kind: Literal["min-snr"] = "min-snr"
    gamma: float = Field(5.0, gt=0)
    """The SNR above which the weight falls."""


Weighting = Annotated[P2Config | MinSNRConfig, Field(discriminator="kind")]
"""The config of a loss weight."""

KINDS: dict[str, tuple[type[BaseModel], Callable[[Any, Tensor], Tensor]]] = {
    "p2": (P2Config, lambda config, snr: (config.k + snr) ** -config.gamma),
    "min-snr": (MinSNRConfig, lambda config, snr: snr.clamp(max=config.gamma) / snr),
}
"""Name to (config, weight of the eps error by SNR)."""


def loss_weight(config: Weighting, process: NoiseProcess, prediction: Prediction, t: Tensor) -> Tensor:
    """What the error of y at time t is multiplied by: t (B,) -> (B,) float32, >= 0."""
    device, t = t.device, t.cpu().double()  # some devices have no float64
    alpha, sigma = process.alpha(t), process.sigma(t)
    a, b = prediction.row(alpha, sigma)
    _, weight = KINDS[config.kind]
    # Without any signal, eps is known and its error says nothing: the factor of y is infinite there, and the weight 0.
    return (
        (weight(config, (alpha / sigma) ** 2) * (alpha / (alpha * b - sigma * a)) ** 2)
        .nan_to_num(0.0)
        .float()
        .to(device)
    )
