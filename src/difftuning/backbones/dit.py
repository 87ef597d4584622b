"""Class-conditional DiT (Peebles & Xie 2023) on diffusers' `DiTTransformer2DModel`.

Three things about that class as it stands make naive fine-tuning wrong, and are mended here:

- in train mode it drops labels once per block, each block for itself, so an unconditional pass practically never happens:
  label dropout is switched off, and labels are dropped where the batch is made;
- each block has its own copy of the timestep and class embedder, which drift apart in training: they are tied on load and
  untied on export;
- its pipeline takes 1000 for the null label: ours is read from the class table.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from difftuning.backbones.base import Backbone
from difftuning.backbones.codec import VAECodec, digest_module, make_codec
from difftuning.backbones.labels import Keep, LabelChange, LabelSpace, change_labels, target_rows
from difftuning.errors import ModelError
from difftuning.noise.clock import default_clock
from difftuning.noise.prediction import from_scheduler_config as prediction_of
from difftuning.noise.process import from_scheduler_config as process_of
from difftuning.types import Condition


class DiT(Backbone):
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
        self.name = name
        self.network: Any = transformer
        self.scheduler = scheduler
        self.scheduler_config = {**scheduler.config, "_class_name": type(scheduler).__name__}
        self.process = process_of(self.scheduler_config)
        self.prediction = prediction_of(self.scheduler_config, self.process)
        self.clock = default_clock(self.process)
        self.codec = make_codec(vae)
        config = transformer.config
        channels, size = int(config.in_channels), int(config.sample_size)
        self.sample_shape = (channels, size, size)
        out_channels = int(config.out_channels or channels)
        if out_channels not in (channels, 2 * channels):
            raise ModelError(f"{name}: {out_channels} output channels fit neither {channels} nor a learned variance")
        self.learned_variance = out_channels == 2 * channels
        self.tied = tie_embedders(transformer)
        self.class_table = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
        rows = self._class_embedder.embedding_table.num_embeddings
        self.labels = LabelSpace(names or tuple(str(index) for index in range(rows - 1)))
        if len(self.labels) != rows - 1:
            raise ModelError(
                f"{name}: {len(self.labels)} class names for a table of {rows} rows (classes and the null row); "
                "mend id2label in model_index.json"
            )

    @property
    def _class_embedder(self) -> Any:
        return self.network.transformer_blocks[0].norm1.emb.class_embedder

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The transformer's answer; t is an index of the scheduler's table."""
        time = self.process.network_time(t).to(x_t.dtype)
        answer: Tensor = self.network(x_t, timestep=time, class_labels=condition.labels, return_dict=False)[0]
        return answer

    def check_labels(self, change: LabelChange, target: tuple[str, ...]) -> None:
        """Raise what `change_labels` would; only a model whose blocks share one table can change it."""
        super().check_labels(change, target)
        if not self.tied and not isinstance(change, Keep):
            raise ModelError(
                f"{self.name}: the class embedders of its blocks differ from each other, so its labels cannot be changed; "
                "use labels.kind=keep"
            )

    def change_labels(self, change: LabelChange, target: tuple[str, ...]) -> Tensor:
        """Swap the class table, in every block at once, and note it in the model's config."""
        self.check_labels(change, target)
        if isinstance(change, Keep):
            return target_rows(change, self.labels, target)
        table = self._class_embedder.embedding_table.weight.detach()
        changed = change_labels(change, self.labels, table, target)
        embedder = self._class_embedder
        embedder.embedding_table = nn.Embedding(len(changed.table), changed.table.shape[1])
        embedder.embedding_table.weight = nn.Parameter(changed.table.clone())
        embedder.num_classes = len(changed.space)
        self.network.register_to_config(num_embeds_ada_norm=len(changed.space))
        self.labels = changed.space
        return changed.target_rows

    def digest(self) -> str:
        """Of the transformer's weights and config."""
        return digest_module(self.network, self.network.config)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a DiTPipeline folder with the embedders untied, as diffusers expects them."""
        transformer = nn.Module.to(copy.deepcopy(self.network), "cpu", dtype)
        if self.tied:
            for block in transformer.transformer_blocks:
                block.norm1.emb = copy.deepcopy(transformer.transformer_blocks[0].norm1.emb)
        folder = Path(folder)
        transformer.save_pretrained(folder / "transformer")
        self.scheduler.save_pretrained(folder / "scheduler")
        index: dict[str, Any] = {
            "_class_name": "DiTPipeline",
            "_diffusers_version": diffusers.__version__,
            "id2label": dict(enumerate(self.labels.names)),
            "scheduler": ["diffusers", type(self.scheduler).__name__],
            "transformer": ["diffusers", "DiTTransformer2DModel"],
            "vae": [None, None],
        }
        if isinstance(self.codec, VAECodec):
            self.codec.vae.save_pretrained(folder / "vae")
            index["vae"] = ["diffusers", type(self.codec.vae).__name__]
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


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
    index = json.loads((folder / "model_index.json").read_text())
    try:
        model_class: Any = diffusers.DiTTransformer2DModel
        transformer = model_class.from_pretrained(folder / "transformer", local_files_only=True)
        scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(folder / "scheduler")
        vae_class = (index.get("vae") or [None, None])[1]
        vae = (
            getattr(diffusers, vae_class).from_pretrained(folder / "vae", local_files_only=True) if vae_class else None
        )
    except (OSError, ValueError, KeyError, AttributeError) as reason:
        raise ModelError(f"{name}: {folder} is not a readable DiTPipeline folder ({reason})") from reason
    id2label = index.get("id2label") or {}
    names = tuple(str(id2label[key]) for key in sorted(id2label, key=int)) or None
    return DiT(transformer.float(), scheduler, vae, names, name)
