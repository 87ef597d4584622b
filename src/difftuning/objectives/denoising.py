"""The denoising error of each sample, not reduced."""

from __future__ import annotations

from torch import Tensor

from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess
from difftuning.types import Batch, Network


def denoise(network: Network, process: NoiseProcess, batch: Batch) -> tuple[Tensor, Tensor]:
    """Corrupt the batch and ask the network: (x_t, y), y (B, C, H, W) or (B, 2C, H, W) with a learned variance."""
    x_t = process.add_noise(batch.x0, batch.noise, batch.draw.t)
    return x_t, network(x_t, batch.draw.t, batch.condition)


def denoising_error(y: Tensor, process: NoiseProcess, prediction: Prediction, batch: Batch) -> Tensor:
    """The mean squared error of what the network predicts (Eq. 1 for eps), over C, H, W: (B,) float32."""
    target = prediction.target(process, batch.x0, batch.noise, batch.draw.t)
    return (y.float() - target.float()).square().flatten(1).mean(1)
