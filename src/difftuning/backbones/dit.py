"""Class-conditional DiT (Peebles & Xie 2023) on diffusers' `DiTTransformer2DModel`.

Three things about that class as it stands make naive fine-tuning wrong, and are mended here:

- in train mode it drops labels once per block, each block for itself, so an unconditional pass practically never happens:
  label dropout is switched off, and labels are dropped where the batch is made;
- each block has its own copy of the timestep and class embedder, which drift apart in training: they are tied on load and
  untied on export;
- its pipeline takes 1000 for the null label: ours is read from the class table.

A fourth is kept: its sines of the time have the frequencies 10000^(-i/127), the published ones 10000^(-i/128). What was trained in
diffusers was trained so; for weights that were not, `downscale_freq_shift: 0` in the transformer's config sets the published ones.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from difftuning.backbones.class_conditional import ClassConditional
from difftuning.backbones.codec import VAECodec, digest_module
from difftuning.backbones.folder import in_dtype, names_of, only_errors, read_index, read_part, write_pipeline
from difftuning.backbones.labels import Keep, LabelChange, LabelSpace
from difftuning.errors import ModelError
from difftuning.types import Condition

FREQUENCIES = "downscale_freq_shift"
"""The key of a transformer's config: i-th frequency 10000^(-i / (128 - shift)). diffusers passes over it with a warning."""


class DiT(ClassConditional):
    """A DiT with its autoencoder (None for a pixel model), scheduler and class names.

    Args:
        transformer: diffusers' model; its embedders get tied in place.
        scheduler: any diffusers scheduler; its config says what the model was trained for.
        vae: the autoencoder, or None where the model works on pixels.
        names: the class names in the order of the table; None numbers them.
        name: for cards and messages.

    Raises:
        ModelError: the table and the class names do not fit, or the channels do not.
    """

    def __init__(
        self,
        transformer: Any,
        scheduler: Any,
        vae: nn.Module | None = None,
        names: tuple[str, ...] | None = None,
        name: str = "dit",
    ) -> None:
        config = transformer.config
        channels, size = int(config.in_channels), int(config.sample_size)
        super().__init__(
            name, transformer, scheduler, vae, (channels, size, size), int(config.out_channels or channels)
        )
        take_frequencies(transformer)
        self.tied = tie_embedders(transformer)
        self.class_table = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
        rows = self._class_embedder.embedding_table.num_embeddings
        self.labels = LabelSpace(names or tuple(str(index) for index in range(rows - 1)))
        self.check_names()

    @property
    def _class_embedder(self) -> Any:
        return self.network.transformer_blocks[0].norm1.emb.class_embedder

    @property
    def embedding(self) -> nn.Embedding:
        """The class table of the first block, which is that of all where they are tied."""
        table: nn.Embedding = self._class_embedder.embedding_table
        return table

    @property
    def embedding_width(self) -> int:
        """The width of the transformer."""
        return self.embedding.embedding_dim

    def put_embedding(self, embedding: nn.Embedding) -> None:
        """In every block at once."""
        self._class_embedder.embedding_table = embedding
        self._class_embedder.num_classes = embedding.num_embeddings - 1
        self.network.register_to_config(num_embeds_ada_norm=embedding.num_embeddings - 1)

    def skeleton(self) -> nn.Module:
        """The same parts on the meta device, with one embedder where all blocks share it."""
        network: Any = super().skeleton()
        for block in network.transformer_blocks if self.tied else ():
            block.norm1.emb = network.transformer_blocks[0].norm1.emb
        return cast(nn.Module, network)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The transformer's answer."""
        x, time = self.process.network_input(x_t, t), self.process.network_time(t).to(x_t.dtype)
        answer: Tensor = self.network(x, timestep=time, class_labels=condition.labels, return_dict=False)[0]
        return answer

    def check_labels(self, change: LabelChange, target: tuple[str, ...]) -> None:
        """Raise what `change_labels` would; only a model whose blocks share one table can change it."""
        super().check_labels(change, target)
        if not self.tied and not isinstance(change, Keep):
            raise ModelError(
                f"{self.name}: the class embedders of its blocks differ from each other, so its labels cannot be changed; "
                "use labels.kind=keep"
            )

    def digest(self) -> str:
        """Of the transformer's weights and config."""
        return digest_module(self.network, self.network.config)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a DiTPipeline folder with the embedders untied, as diffusers expects them."""
        transformer = in_dtype(self.network, dtype)
        if self.tied:
            for block in transformer.transformer_blocks:
                block.norm1.emb = copy.deepcopy(transformer.transformer_blocks[0].norm1.emb)
        vae = self.codec.vae if isinstance(self.codec, VAECodec) else None
        parts = {"transformer": transformer, "scheduler": self.scheduler, "vae": vae}
        write_pipeline(Path(folder), "DiTPipeline", parts, self.labels.names)


def take_frequencies(transformer: Any) -> None:
    """Set the frequencies of the time's sines that the config asks for; diffusers' class reads none from it."""
    shift = transformer.config.get(FREQUENCIES)
    for block in transformer.transformer_blocks if shift is not None else ():
        block.norm1.emb.time_proj.downscale_freq_shift = shift


def tie_embedders(transformer: Any) -> bool:
    """Make all blocks share the first one's embedder and switch label dropout off; False if they differ and stay as they are."""
    blocks = transformer.transformer_blocks
    first = blocks[0].norm1.emb
    reference = first.state_dict()
    same = all(
        torch.equal(value, reference[key])
        for block in blocks[1:]
        for key, value in block.norm1.emb.state_dict().items()
    )
    for block in blocks:
        if same:
            block.norm1.emb = first
        block.norm1.emb.class_embedder.dropout_prob = 0.0
    return same


def load_dit(folder: Path, name: str) -> DiT:
    """Read a DiTPipeline folder, part by part, so that one without an autoencoder (a pixel model) loads too.

    Weights become float32.

    Raises:
        ModelError: a part is missing or unreadable.
    """
    index = read_index(folder, name)
    with only_errors():  # FREQUENCIES is ours
        transformer, scheduler, vae = (read_part(folder, part, index) for part in ("transformer", "scheduler", "vae"))
    return DiT(transformer.float(), scheduler, vae, names_of(index), name)
