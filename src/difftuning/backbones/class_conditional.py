"""Models that are asked under a class: a row of their own table, the last of which means none."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from difftuning.backbones.base import Backbone
from difftuning.backbones.labels import Keep, LabelChange, change_labels, target_rows
from difftuning.errors import ModelError


class ClassConditional(Backbone):
    """A backbone whose network holds its classes as an `nn.Embedding`, or has none yet."""

    @property
    @abstractmethod
    def embedding(self) -> nn.Embedding | None:
        """The class table; None where the network knows no classes."""

    @abstractmethod
    def put_embedding(self, embedding: nn.Embedding) -> None:
        """Take another class table, and note its size in the network's config."""

    @property
    @abstractmethod
    def embedding_width(self) -> int:
        """Numbers in a row of the table."""

    def change_labels(self, change: LabelChange, target: tuple[str, ...]) -> Tensor:
        """Bring the class table to the target's classes, in place; a model without one gets one of zeros, which changes nothing.

        Raises:
            ModelError: a class that the change needs is not in the model.
        """
        self.check_labels(change, target)
        if isinstance(change, Keep):
            return target_rows(change, self.labels, target)
        there = self.embedding
        table = torch.zeros(1, self.embedding_width, device=self.device) if there is None else there.weight.detach()
        changed = change_labels(change, self.labels, table, target)
        embedding = nn.Embedding(len(changed.table), changed.table.shape[1], device=table.device)
        embedding.weight = nn.Parameter(changed.table.clone())
        self.put_embedding(embedding)
        self.labels = changed.space
        return changed.target_rows

    def check_names(self) -> None:
        """See that there is a name for each row of the table but the last, which is the null label's.

        Raises:
            ModelError: there is not.
        """
        there = self.embedding
        rows = 1 if there is None else there.num_embeddings
        if len(self.labels) != rows - 1:
            raise ModelError(
                f"{self.name}: {len(self.labels)} class names for a table of {rows} rows (classes and the null row); "
                "mend id2label in model_index.json"
            )
