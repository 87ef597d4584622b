"""What a network predicts, as one row `y = a x0 + b eps`.

Every parameterisation in use is such a row, so converting between them is one 2x2 solve of

    [alpha  sigma] [x0 ]   [x_t]
    [  a      b  ] [eps] = [ y ]

instead of a dozen pairwise formulas. The determinant tells which is safe where: 1 everywhere for v on the variance-preserving
and flow on the straight path; epsilon degenerates as alpha -> 0 and sample as sigma -> 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from difftuning.errors import ModelError, did_you_mean
from difftuning.noise.process import EDM, NoiseProcess, StraightFlow, expand

Row = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A parameterisation.

    Attributes:
        name: as diffusers' `prediction_type` has it, or "edm".
        row: (alpha, sigma) -> (a, b), all of one shape.
    """

    name: str
    row: Row

    def _coefficients(self, process: NoiseProcess, like: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, sigma = process.alpha(t), process.sigma(t)
        a, b = self.row(alpha, sigma)
        return expand(alpha, like), expand(sigma, like), expand(a, like), expand(b, like)

    def target(self, process: NoiseProcess, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """y, what the network should answer: x0 and noise (B, C, H, W), t (B,)."""
        _, _, a, b = self._coefficients(process, x0, t)
        return a * x0 + b * noise

    def solve(self, process: NoiseProcess, x_t: Tensor, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x0-hat, eps-hat) from x_t and the network's answer y, each (B, C, H, W)."""
        alpha, sigma, a, b = self._coefficients(process, x_t, t)
        determinant = alpha * b - sigma * a
        return (b * x_t - sigma * y) / determinant, (alpha * y - a * x_t) / determinant

    def from_x0(self, process: NoiseProcess, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """The answer y that means this x0-hat at x_t; sigma(t) must not be 0."""
        alpha, sigma, a, b = self._coefficients(process, x_t, t)
        return a * x0 + b * (x_t - alpha * x0) / sigma


def edm_prediction(sigma_data: float = 0.5, sign: int = 1) -> Prediction:
    """F of Karras et al. 2022 (Eq. 7): `D = c_skip x_t + c_out F`, solved for F.

    Args:
        sigma_data: the standard deviation of the data.
        sign: -1 for -F, which is what diffusers' EDM schedulers call "v_prediction".
    """

    def row(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        norm = sign * (sigma**2 + sigma_data**2).sqrt()
        return sigma / (sigma_data * norm), -sigma_data / norm * alpha

    return Prediction("edm", row)


KINDS: dict[str, Prediction] = {
    "epsilon": Prediction("epsilon", lambda alpha, sigma: (0 * alpha, alpha * 0 + 1)),
    "sample": Prediction("sample", lambda alpha, sigma: (alpha * 0 + 1, 0 * alpha)),
    "v_prediction": Prediction("v_prediction", lambda alpha, sigma: (-sigma, alpha)),
    "flow_prediction": Prediction("flow_prediction", lambda alpha, sigma: (alpha * 0 - 1, alpha * 0 + 1)),
    "edm": edm_prediction(),
}


EDM_SIGNS = {"epsilon": 1, "v_prediction": -1}
"""The sign of F in the answer, by the `prediction_type` of diffusers' EDM schedulers."""


def prediction(name: str) -> Prediction:
    """The parameterisation of this name.

    Raises:
        ModelError: the name is not in `KINDS`.
    """
    if name not in KINDS:
        raise ModelError(f"prediction type {name!r} is not known{did_you_mean(name, KINDS)}")
    return KINDS[name]


def from_scheduler_config(config: Mapping[str, Any], process: NoiseProcess) -> Prediction:
    """What a network trained with this diffusers scheduler config predicts.

    Raises:
        ModelError: its prediction type is not known.
    """
    if isinstance(process, StraightFlow):
        return KINDS["flow_prediction"]
    name = str(config.get("prediction_type", "epsilon"))
    if isinstance(process, EDM):
        if name not in EDM_SIGNS:
            raise ModelError(f"prediction type {name!r} is not known of EDM{did_you_mean(name, EDM_SIGNS)}")
        return edm_prediction(process.sigma_data, EDM_SIGNS[name])
    return prediction(name)
