"""Diff-Tuning as a LightningModule: any loader of images, any model that difftuning loads, Lightning's own trainer.

python examples/lightning_module.py [MODEL] [STEPS]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

import difftuning
from difftuning import Batch, ChainOfForgetting, Condition, DiffTuning
from difftuning.backbones.base import Backbone
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import Source


class TwoStreams(IterableDataset[Batch]):
    """Batches of both streams: the draw first, then the items it asks for."""

    def __init__(self, model: Backbone, images: Tensor, labels: Tensor, bank: Tensor, batch_size: int) -> None:
        self.model, self.images, self.labels, self.bank, self.batch_size = model, images, labels, bank, batch_size
        self.chain = ChainOfForgetting.from_psi(Power(tau=1.0))

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(0)
        while True:
            draw = Source().draw(self.chain, self.model.clock, self.batch_size, generator)
            target = torch.randint(len(self.images), (self.batch_size,), generator=generator)
            drawn = torch.randint(len(self.bank), (self.batch_size,), generator=generator)
            x0 = torch.where(draw.from_bank[:, None, None, None], self.bank[drawn], self.images[target])
            labels = torch.where(draw.from_bank, self.model.labels.null, self.labels[target])
            yield Batch(x0, torch.randn(x0.shape, generator=generator), Condition(labels), draw)


class DiffTuned(lightning.LightningModule):
    """A pretrained model that learns by Eq. 5 of the paper."""

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        self.network = model.network.train()
        self.objective = DiffTuning(model, model.process, model.prediction, model.learned_variance)

    def training_step(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        loss = self.objective(batch).loss()
        self.log("loss", loss, batch_size=len(batch))
        return loss

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning does not know what a batch of ours is."""
        return batch.to(device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The paper's."""
        return torch.optim.AdamW(self.network.parameters(), lr=1e-4)


def main(name: str = "dit-icons-32", steps: int = 5) -> float:
    """Train on random images, in place of yours, and return the last loss."""
    model = difftuning.load(name)
    images, bank = (torch.rand(64, *model.sample_shape) * 2 - 1 for _ in range(2))
    batches = DataLoader(TwoStreams(model, images, torch.zeros(64, dtype=torch.int64), bank, 16), batch_size=None)
    trainer = lightning.Trainer(
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = DiffTuned(model)
    trainer.fit(module, batches)
    return float(trainer.callback_metrics["loss"])


if __name__ == "__main__":
    print(main(*sys.argv[1:2], *map(int, sys.argv[2:3])))
