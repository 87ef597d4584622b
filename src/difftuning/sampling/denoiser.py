"""From networks to denoisers, and the denoisers that wrap one to change what it is asked or what it answers."""

from __future__ import annotations

import torch
from torch import Tensor

from difftuning.config.precision import Precision
from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess
from difftuning.types import Condition, Denoiser, Network

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class MixedPrecision:
    """A network asked in mixed precision; its weights stay as they are.

    Args:
        network: `(x_t, t, condition) -> y`.
        precision: "no" asks it as it is.
    """

    def __init__(self, network: Network, precision: Precision) -> None:
        self.network, self.dtype = network, _DTYPES.get(precision)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """Y (B, C, H, W)."""
        # Each weight is asked once: a cache would keep a second copy of all of them for nothing.
        with torch.autocast(x_t.device.type, self.dtype, enabled=self.dtype is not None, cache_enabled=False):
            return self.network(x_t, t, condition)


class ModelDenoiser:
    """A network's answer, solved for the clean sample.

    Args:
        network: `(x_t, t, condition) -> y`; what it answers beyond the channels of x_t (a learned variance) is dropped.
        process: how x_t was corrupted.
        prediction: what y is.
    """

    def __init__(self, network: Network, process: NoiseProcess, prediction: Prediction) -> None:
        self.network, self.process, self.prediction = network, process, prediction

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x_t (B, C, H, W), t (B,) -> x0-hat (B, C, H, W) in the dtype of x_t, whatever the network computes in."""
        y = self.network(x_t, t, condition)[:, : x_t.shape[1]].to(x_t.dtype)
        x0_hat, _ = self.prediction.solve(self.process, x_t, y, t)
        return x0_hat


class Clipped:
    """Keeps x0-hat within [-limit, limit], for pixel models. Put it outside guidance, which can leave the range.

    Args:
        denoiser: whose answer is clipped.
        limit: of the data; 1 for pixels.
    """

    def __init__(self, denoiser: Denoiser, limit: float = 1.0) -> None:
        self.denoiser, self.limit = denoiser, limit

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The clipped x0-hat, (B, C, H, W)."""
        return self.denoiser(x_t, t, condition).clamp(-self.limit, self.limit)


class Unconditional:
    """Asks without the condition, for instance a pretrained model that does not know the labels of the target.

    Args:
        denoiser: the one asked.
        null_label: its own label for "no condition".
    """

    def __init__(self, denoiser: Denoiser, null_label: int) -> None:
        self.denoiser, self.null_label = denoiser, null_label

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x0-hat under the null label, (B, C, H, W)."""
        return self.denoiser(x_t, t, condition.under(self.null_label))
