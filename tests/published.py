"""Files in the form in which EDM and DiT were published, made here from networks of ours and of diffusers'."""

from __future__ import annotations

import math
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor, nn

from difftuning.backbones.edm_unet import EDMUNet

CLASSES = {"ddpmpp": "SongUNet", "adm": "DhariwalUNet"}


def _reconstruct_persistent_obj(described: Any) -> None:
    raise AssertionError("the reader of their files was called")


class Stored:
    """Pickles as their modules do: a call of their reader with class, source and state."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str) -> None:
        self.described = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (self.described,)


def module(weights: dict[str, Tensor | None], kind: str, source: str, **attributes: Any) -> Any:
    """A module of theirs from tensors under dotted names; `enc` and `dec` are torch's own ModuleDict."""
    own = {name: value for name, value in weights.items() if "." not in name}
    children = {
        child: module(
            {name.partition(".")[2]: value for name, value in weights.items() if name.startswith(f"{child}.")},
            "ModuleDict" if child in ("enc", "dec") else "Part",
            source,
        )
        for child in dict.fromkeys(name.partition(".")[0] for name in weights if "." in name)
    }
    if kind == "ModuleDict":
        made = nn.ModuleDict()
        made._modules.update(children)
        return made
    state = {
        **nn.Module().__dict__,
        "_parameters": {n: v if v is None else nn.Parameter(v) for n, v in own.items() if n != "resample_filter"},
        "_buffers": {n: v for n, v in own.items() if n == "resample_filter"},
        "_modules": children,
        "skip_scale": np.sqrt(0.5),
        **attributes,
    }
    return Stored(kind, state, source)


def edm_weights(network: EDMUNet) -> dict[str, Tensor | None]:
    """Weights of a network of ours under the published names."""
    config, weights = network.config, dict(network.state_dict())
    classes, augmented = config.num_classes, network.class_width
    if classes:
        table = weights.pop("class_embedding.weight")
        scale = math.sqrt(classes) if config.kind == "ddpmpp" else 1.0
        weights["map_label.weight"] = (table[:-1] - table[-1]).T.contiguous() / scale
        if config.kind == "ddpmpp":
            weights["map_label.bias"] = table[-1]
    for name, block in [*network.enc.items(), *network.dec.items()]:
        if getattr(block, "resample", None):
            home = "enc" if block.resample == "down" else "dec"
            for part in ("conv0", "skip"):
                weights[f"{home}.{name}.{part}.resample_filter"] = torch.full((1, 1, 2, 2), 0.25)
            weights.setdefault(f"{home}.{name}.skip.weight", None)
    weights["map_augment.weight"] = torch.randn(augmented, 9)
    if config.kind == "ddpmpp":
        side = config.sample_size
        weights = {name.replace("out_", f"dec.{side}x{side}_aux_"): value for name, value in weights.items()}
    return weights


def write_edm(
    path: Path, network: EDMUNet, weights: dict[str, Tensor | None] | None = None, source: str = "", **attributes: Any
) -> Path:
    """An `edm-*.pkl` with this network.

    Args:
        path: the file.
        network: of ours.
        weights: under the published names, in the place of the network's.
        source: beside each module.
        attributes: of the EDMPrecond, or `precond` and `model` for the names of the two classes.
    """
    config = network.config
    names = {"precond": "EDMPrecond", "model": CLASSES[config.kind]}
    names.update({name: attributes.pop(name) for name in names if name in attributes})
    state = {
        "img_resolution": config.sample_size,
        "img_channels": config.in_channels,
        "label_dim": config.num_classes,
        "use_fp16": False,
        "sigma_min": 0,
        "sigma_max": float("inf"),
        "sigma_data": 0.5,
    }
    inner = module(edm_weights(network) if weights is None else weights, names["model"], source)
    inner.described["state"]["_init_kwargs"] = {"dropout": 0.13}
    outer = module({}, names["precond"], source, **{**state, **attributes, "_modules": {"model": inner}})
    # pickle only writes names that it can find.
    home, parent = ModuleType("torch_utils.persistence"), ModuleType("torch_utils")
    home._reconstruct_persistent_obj, parent.persistence = _reconstruct_persistent_obj, home  # type: ignore[attr-defined]
    sys.modules.update({"torch_utils": parent, home.__name__: home})
    try:
        _reconstruct_persistent_obj.__module__ = home.__name__
        path.write_bytes(pickle.dumps({"ema": outer, "loss_fn": Stored("EDMLoss", {"P_mean": -1.2}, source)}))
    finally:
        del sys.modules["torch_utils"], sys.modules[home.__name__]
    return path


class Sines(nn.Module):
    """The published DiT's features of a time: cosines, then sines, of 10000^(-i / 128)."""

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(128, dtype=torch.float32) / 128)
        return torch.cat([angles.cos(), angles.sin()], -1)


def small_dit() -> DiTTransformer2DModel:
    """A random DiT as published but for its size: one embedder for all blocks, norms with 1e-6, a learned variance."""
    torch.manual_seed(0)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=3,
        out_channels=6,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=4,
        norm_eps=1e-6,
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    first, *others = (block.norm1.emb for block in network.transformer_blocks)
    for other in others:
        other.load_state_dict(first.state_dict())
    for emb in (first, *others):
        emb.time_proj = Sines()
    return network.eval()


def dit_weights(network: DiTTransformer2DModel) -> dict[str, Tensor]:
    """Weights of diffusers' DiT under the published names; the embedders are those of its first block."""
    weights = network.state_dict()
    names = {
        "pos_embed.proj": "x_embedder.proj",
        "proj_out_1": "final_layer.adaLN_modulation.1",
        "proj_out_2": "final_layer.linear",
        "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2": "t_embedder.mlp.2",
    }
    found = {f"{new}.{kind}": weights[f"{old}.{kind}"] for old, new in names.items() for kind in ("weight", "bias")}
    found["y_embedder.embedding_table.weight"] = weights[
        "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
    ]
    found["pos_embed"] = network.pos_embed.pos_embed.clone()
    inner = {
        "norm1.linear": "adaLN_modulation.1",
        "attn1.to_out.0": "attn.proj",
        "ff.net.0.proj": "mlp.fc1",
        "ff.net.2": "mlp.fc2",
    }
    for block in range(len(network.transformer_blocks)):
        ours, theirs = f"transformer_blocks.{block}", f"blocks.{block}"
        for kind in ("weight", "bias"):
            found |= {f"{theirs}.{new}.{kind}": weights[f"{ours}.{old}.{kind}"] for old, new in inner.items()}
            parts = [weights[f"{ours}.attn1.to_{part}.{kind}"] for part in "qkv"]
            found[f"{theirs}.attn.qkv.{kind}"] = torch.cat(parts)
    return found
