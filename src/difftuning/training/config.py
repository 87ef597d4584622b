"""The settings of the training loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from difftuning.config.precision import Precision
from difftuning.config.section import Section


class TrainingConfig(Section):
    """How long, how large, how often."""

    steps: int = Field(1000, gt=0)
    """Optimiser steps in all."""
    batch_size: int = Field(32, gt=0)
    """Samples a step, target and bank together."""
    accumulate: int = Field(1, gt=0)
    """Passes that each process splits a step into, at most one a sample, to save memory; the result is the same up to rounding."""
    precision: Precision = "no"
    """Mixed precision of the pass, or `auto`; weights, optimiser and average stay float32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, to save memory."""
    offload: bool | None = None
    """Keep autoencoder and text encoders in the host's memory while training: target and bank are encoded before. Text encoders
    that would leave too little of a device for work stay there from the beginning. Null does not."""
    compile: bool | None = None
    """Compile the blocks of the network (torch.compile): the first step takes a minute or more, later ones less. Null does not."""
    tf32: bool | None = None
    """Let a GPU round the factors of float32 products to TF32, in steps and in what is measured between them. Null leaves it as
    torch has it."""
    label_dropout: float = Field(0.1, ge=0, le=1)
    """The share of target samples whose label becomes the null label, for classifier-free guidance."""
    retention_labels: float | None = Field(None, ge=0, le=1)
    """The share of bank items that train under a random class of the target. Where psi is small, little else tells the new classes
    what the pretrained model knows. Null for none, as in the paper: all under no condition."""
    retention_condition: Literal["drawn"] | None = None
    """`drawn`: bank items train under the class or prompt that they were drawn under, `label_dropout` of them under none, so that
    the model's own classes stay what they are; for models that keep them (labels.kind=extend or keep). Null for the default
    condition, as in the paper."""
    log_every: int = Field(50, gt=0)
    """Steps between lines of metrics.jsonl."""
    heldout_every: int = Field(100, ge=0)
    """Steps between measurements of the held-out error in ten bins of u; 0 never."""
    sample_every: int = Field(0, ge=0)
    """Steps between sample grids; 0 never."""
    save_every: int = Field(500, gt=0)
    """Steps between checkpoints; the last step always saves."""
    keep: int = Field(2, gt=0)
    """Newest checkpoints that stay; the best one stays besides."""

    use_best: bool | None = None
    """End with the average where the held-out error was lowest, which may be the model as it was, and not with the last one. Null
    takes the last."""

    def passes(self, processes: int) -> int:
        """Passes of a step in each of so many processes, which have at least a sample each; as many in one with a sample less."""
        return min(self.accumulate, self.batch_size // processes)

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> TrainingConfig:
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate={self.accumulate} passes cannot share {self.batch_size} samples; lower it")
        if self.use_best and not self.heldout_every:
            raise ValueError(
                "use_best=true looks at the held-out error, and heldout_every=0 never measures it; set one of them"
            )
        return self
