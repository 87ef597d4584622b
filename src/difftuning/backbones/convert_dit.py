"""The published DiT (Peebles & Xie 2023), from the names and shapes of its weights to diffusers' `DiTTransformer2DModel`.

The names follow diffusers' own conversion script (scripts/convert_dit_to_diffusers.py, Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import diffusers
import torch
from torch import Tensor

from difftuning.backbones.dit import FREQUENCIES, take_frequencies
from difftuning.backbones.weights import put
from difftuning.errors import ModelError

HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
"""Width to attention heads of S, B, L and XL (Table 1 of the paper): the only size that the weights do not show."""
POSITION_ERROR = 1e-4
"""Between the stored sines of the positions and diffusers' own, which are computed anew; beside it what their dtype rounds."""


def read_dit(path: Path) -> dict[str, Tensor]:
    """The weights in a `.pt` file: all of it, or its `ema`.

    Raises:
        ModelError: the file cannot be read without running code, or holds no weights.
    """
    try:
        # Checkpoints of their training loop keep the command line too: a Namespace, which is plain content.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as reason:
        raise ModelError(f"{path} is no file of tensors ({' '.join(str(reason).split())[:200]})") from reason
    weights = content.get("ema", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(map(_plain, weights.values())):
        raise ModelError(f"{path} holds no plain weights by name, neither at its top nor under `ema`")
    return {str(name): value for name, value in weights.items()}


def _plain(value: Any) -> bool:
    """Whether it is a tensor that has all its numbers in the file; an expanded one could claim any size."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def dit_network(published: dict[str, Tensor], heads: int | None = None) -> tuple[Any, Any]:
    """Network and scheduler from the published weights.

    Args:
        published: by their published names.
        heads: attention heads; None for those of the published width.

    Returns:
        A `DiTTransformer2DModel`, whose blocks each have a copy of the embedders, and a `DDPMScheduler`.

    Raises:
        ModelError: weights are missing, left over or of another shape, positions are no sines, or the heads are not known.
    """
    weights = dict(published)
    config = _sizes(weights, heads)
    positions = weights.pop("pos_embed")
    model: Any = diffusers.DiTTransformer2DModel
    network: Any = put(model, config, _translated(weights, config["num_layers"]), "the file")
    network.register_to_config(**{FREQUENCIES: 0})
    take_frequencies(network)
    off = (network.pos_embed.pos_embed.reshape(positions.shape) - positions).abs().max().item()
    if not off < POSITION_ERROR + (torch.finfo(positions.dtype).eps if positions.is_floating_point() else 0):
        raise ModelError(
            f"pos_embed differs by {off:.2g} from the sines that DiT has there; trained positions are not supported"
        )
    scheduler: Any = diffusers.DDPMScheduler
    learned = config["out_channels"] == 2 * config["in_channels"]
    variance = "learned_range" if learned else "fixed_small"
    return network, scheduler(beta_schedule="linear", variance_type=variance, clip_sample=False)


def _sizes(weights: dict[str, Tensor], heads: int | None) -> dict[str, Any]:
    """The arguments of diffusers' class."""
    needed = {
        "x_embedder.proj.weight": 4,
        "pos_embed": 3,
        "y_embedder.embedding_table.weight": 2,
        "final_layer.linear.weight": 2,
    }
    for name, dimensions in needed.items():
        if name not in weights or weights[name].ndim != dimensions or not weights[name].numel():
            raise ModelError(f"the file is no DiT: {name} is missing, or does not have {dimensions} dimensions")
    width, channels, patch, _ = weights["x_embedder.proj.weight"].shape
    heads = heads or HEADS.get(width)
    if heads is None or width % heads:
        raise ModelError(
            f"how many attention heads a DiT of width {width} has is not known, or {heads} do not divide it; give heads"
        )
    depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    return {
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "in_channels": channels,
        "out_channels": weights["final_layer.linear.weight"].shape[0] // patch**2,
        "num_layers": depth,
        "sample_size": math.isqrt(weights["pos_embed"].shape[1]) * patch,
        "patch_size": patch,
        "num_embeds_ada_norm": weights["y_embedder.embedding_table.weight"].shape[0] - 1,  # the last is for no class
        "norm_eps": 1e-6,
    }


_ONCE = {
    "x_embedder.proj": "pos_embed.proj",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
_EMBEDDERS = {
    "t_embedder.mlp.0": "timestep_embedder.linear_1",
    "t_embedder.mlp.2": "timestep_embedder.linear_2",
    "y_embedder.embedding_table": "class_embedder.embedding_table",
}
_IN_BLOCKS = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}


def _translated(weights: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The weights under diffusers' names; a name that is not known stays, and is reported as left over."""
    translated = {}
    for name, value in weights.items():
        layer, _, kind = name.rpartition(".")
        if layer in _ONCE:
            translated[f"{_ONCE[layer]}.{kind}"] = value
        elif layer in _EMBEDDERS:
            for block in range(depth):
                translated[f"transformer_blocks.{block}.norm1.emb.{_EMBEDDERS[layer]}.{kind}"] = value
        elif layer.startswith("blocks."):
            _, block_name, inner = layer.split(".", 2) if layer.count(".") > 1 else ("", "", "")
            home = f"transformer_blocks.{block_name}"
            if inner == "attn.qkv" and value.ndim and len(value) % 3 == 0:
                for part, third in zip("qkv", value.chunk(3), strict=True):
                    translated[f"{home}.attn1.to_{part}.{kind}"] = third
            elif inner in _IN_BLOCKS:
                translated[f"{home}.{_IN_BLOCKS[inner]}.{kind}"] = value
            else:
                translated[name] = value
        else:
            translated[name] = value
    return translated


def read_autoencoder(folder: Path) -> Any:
    """The autoencoder in a folder, of the class that its config names.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    try:
        kind = str(json.loads((folder / "config.json").read_text()).get("_class_name"))
        if kind not in ("AutoencoderKL", "AutoencoderTiny"):
            raise ModelError(f"{folder} holds a {kind!r}; use the folder of an AutoencoderKL or an AutoencoderTiny")
        return getattr(diffusers, kind).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, AttributeError) as reason:
        raise ModelError(f"{folder} is no folder of an autoencoder ({' '.join(str(reason).split())[:200]})") from reason
