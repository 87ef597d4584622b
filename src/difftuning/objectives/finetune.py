"""Standard fine-tuning: the reference that Diff-Tuning with tau = 0 equals bit for bit."""

from __future__ import annotations

from torch import Tensor

from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess
from difftuning.objectives.denoising import denoise, denoising_error
from difftuning.types import Batch, Network


def finetune_loss(network: Network, process: NoiseProcess, prediction: Prediction, batch: Batch) -> Tensor:
    """Eq. 1: the plain mean squared error over the batch, a scalar with gradient."""
    _, y = denoise(network, process, batch)
    return denoising_error(y, process, prediction, batch).mean()
