"""UNets, class-conditional or unconditional: diffusers' `UNet2DModel` and EDM's, on pixels or behind an autoencoder.

diffusers has no rule for the label that means "no class". Here it is the last row of the table, in folders that name one class
fewer than the table has rows (`id2label`). A table that names all its rows, or none, gets a null row of its own: their mean,
which is where a class that nothing is known of is least wrong. A model without a table knows no classes, until it is given some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from difftuning.backbones.class_conditional import ClassConditional
from difftuning.backbones.codec import VAECodec, digest_module
from difftuning.backbones.edm_unet import EDMUNet
from difftuning.backbones.folder import in_dtype, names_of, read_index, read_part, write_pipeline
from difftuning.backbones.labels import LabelSpace
from difftuning.errors import ModelError
from difftuning.types import Condition

TABLE = "class_embedding"
"""The module of a UNet that holds its classes."""


class ClassUNet(ClassConditional):
    """A UNet with its autoencoder (None for a pixel model), scheduler and class names.

    Args:
        unet: diffusers' model, or an `EDMUNet`.
        scheduler: any diffusers scheduler; its config says what the model was trained for.
        vae: the autoencoder, or None where the model works on pixels.
        names: the class names in the order of the table; None numbers the rows of a table.
        name: for cards and messages.

    Raises:
        ModelError: its classes are not rows of a table, its samples are not square, or names and table do not fit.
    """

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        vae: nn.Module | None = None,
        names: tuple[str, ...] | None = None,
        name: str = "unet",
    ) -> None:
        config = unet.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else tuple(size or (0, 0))
        if height != width or not height:
            raise ModelError(f"{name}: its samples are {height} by {width}; only square ones are supported")
        channels = int(config.in_channels)
        super().__init__(name, unet, scheduler, vae, (channels, height, width), int(config.out_channels))
        table = self.embedding
        if table is None and getattr(unet, TABLE, None) is not None:
            raise ModelError(
                f"{name}: its classes are a {type(unet.class_embedding).__name__} and not rows of a table "
                f"(class_embed_type={config.class_embed_type!r}), which is not supported"
            )
        if table is not None and (names is None or len(names) == table.num_embeddings):
            self._add_null_row(table)
        self.labels = LabelSpace(names or tuple(str(index) for index in range(self._classes)))
        self.check_names()

    @property
    def _classes(self) -> int:
        table = self.embedding
        return 0 if table is None else table.num_embeddings - 1

    def _add_null_row(self, table: nn.Embedding) -> None:
        rows = table.weight.detach()
        longer = nn.Embedding(len(rows) + 1, rows.shape[1])
        longer.weight = nn.Parameter(torch.cat([rows, rows.mean(0, keepdim=True)]))
        self.put_embedding(longer)

    @property
    def class_table(self) -> str | None:  # type: ignore[override]  # it comes with the first class
        """The name of the table's weights; None where there is none."""
        return None if self.embedding is None else f"{TABLE}.weight"

    @property
    def embedding(self) -> nn.Embedding | None:
        """The class table."""
        found = getattr(self.network, TABLE, None)
        return found if isinstance(found, nn.Embedding) else None

    @property
    def embedding_width(self) -> int:
        """The width of what classes are added to: the time embedding."""
        unet = self.network
        width: int = unet.class_width if isinstance(unet, EDMUNet) else unet.time_embedding.linear_2.out_features
        return width

    def put_embedding(self, embedding: nn.Embedding) -> None:
        """Beside the time embedding."""
        self.network.class_embedding = embedding
        rows = embedding.num_embeddings
        sizes = {"num_classes": rows - 1} if isinstance(self.network, EDMUNet) else {"num_class_embeds": rows}
        self.network.register_to_config(**sizes)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The UNet's answer."""
        x, time = self.process.network_input(x_t, t), self.process.network_time(t).to(x_t.dtype)
        labels = None if self.embedding is None else condition.labels
        answer: Tensor = self.network(x, time, class_labels=labels, return_dict=False)[0]
        return answer

    def resize(self, side: int) -> None:
        """Draw and train at another size; EDM's networks have one, which names their parts."""
        if isinstance(self.network, EDMUNet):
            super().resize(side)
            return
        self.sample_shape = self.shape_of(side, 2 ** (len(self.network.config.block_out_channels) - 1))
        self.network.register_to_config(sample_size=self.sample_shape[-1])

    def digest(self) -> str:
        """Of the UNet's weights and config."""
        return digest_module(self.network, self.network.config)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a DDPMPipeline folder, or an EDMPipeline one, whose table has its null row last."""
        vae = self.codec.vae if isinstance(self.codec, VAECodec) else None
        parts = {"unet": in_dtype(self.network, dtype), "scheduler": self.scheduler}
        pipeline = EDM_PIPELINE if isinstance(self.network, EDMUNet) else PIPELINE
        write_pipeline(Path(folder), pipeline, parts | ({} if vae is None else {"vae": vae}), self.labels.names)


PIPELINE, EDM_PIPELINE = "DDPMPipeline", "EDMPipeline"
"""Of diffusers, which reads the first alone: it has no network of EDM's."""


def load_class_unet(folder: Path, name: str) -> ClassUNet:
    """Read a folder with a `unet` and a `scheduler`, and a `vae` where there is one. Weights become float32.

    Raises:
        ModelError: a part is missing or unreadable.
    """
    index = read_index(folder, name)
    ours = {"EDMUNet": EDMUNet}
    unet, scheduler, vae = (read_part(folder, part, index, ours) for part in ("unet", "scheduler", "vae"))
    return ClassUNet(unet.float(), scheduler, vae, names_of(index), name)
