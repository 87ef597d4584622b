"""Diff-Tuning's objective (Eq. 5 of the paper), in whichever realisation the draw was made.

    min_theta  E_bank[ xi(t) || y - f_theta(x_t, t) ||^2 ]  +  E_target[ psi(t) || y - f_theta(x_t, t) ||^2 ]

The draw has decided where each sample comes from and what its error weighs, so one pass over one batch is all there is.
With psi = 1 and xi = 0 (tau = 0) it is exactly standard fine-tuning.
"""

from __future__ import annotations

from torch import Tensor

from difftuning.errors import ModelError
from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess, VariancePreserving
from difftuning.objectives.denoising import denoise, denoising_error
from difftuning.objectives.learned_variance import variational_bound
from difftuning.types import Batch, Errors, Network


class DiffTuning:
    """`objective(batch) -> Errors`; call `.loss()` on the result and go backward.

    Args:
        network: `(x_t, t, condition) -> y`.
        process: how the batch is corrupted.
        prediction: what y is.
        learned_variance: y carries C more channels that hold a variance, trained by the variational term.

    Raises:
        ModelError: a learned variance on a process other than the variance-preserving one.
    """

    def __init__(
        self, network: Network, process: NoiseProcess, prediction: Prediction, learned_variance: bool = False
    ) -> None:
        if learned_variance and not isinstance(process, VariancePreserving):
            raise ModelError(f"a learned variance needs a DDPM-like process, not {type(process).__name__}")
        self.network, self.process, self.prediction, self.learned_variance = (
            network,
            process,
            prediction,
            learned_variance,
        )

    def __call__(self, batch: Batch) -> Errors:
        """The error of each sample of the batch, with gradient."""
        return self.errors(batch, *denoise(self.network, self.process, batch))

    def errors(self, batch: Batch, x_t: Tensor, y: Tensor) -> Errors:
        """The error of each sample from the network's answer y to the corrupted batch x_t."""
        if not self.learned_variance:
            return Errors(denoising_error(y, self.process, self.prediction, batch), batch.draw)
        assert isinstance(self.process, VariancePreserving)
        mean, variance_channels = y.chunk(2, dim=1)
        error = denoising_error(mean, self.process, self.prediction, batch)
        bound = variational_bound(mean, variance_channels, x_t, self.process, self.prediction, batch)
        return Errors(error, batch.draw, bound)
