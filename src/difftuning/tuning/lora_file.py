"""LoRA in the files that diffusers' `load_lora_weights` and ComfyUI read, for the networks that have such a loader.

ComfyUI reads diffusers' own file for transformers; for UNets it wants the form of kohya's scripts, which is a second file.
DoRA is for diffusers alone: ComfyUI divides its magnitudes by the norm of the weight without the change, peft by that with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from difftuning.tuning.lora import LoRA

FILE, KOHYA = "pytorch_lora_weights.safetensors", "kohya_lora_weights.safetensors"
UNET = "unet"
PREFIXES = {
    "UNet2DConditionModel": UNET,
    "SD3Transformer2DModel": "transformer",
    "FluxTransformer2DModel": "transformer",
}
"""Networks whose pipelines in diffusers load a LoRA -> what stands before their layers in the file."""
MATRICES = {"lora_A": "lora_down", "lora_B": "lora_up"}
"""Names of peft -> names of kohya."""


def save_lora_files(tuner: LoRA, folder: Path) -> None:
    """Write `pytorch_lora_weights.safetensors` into a folder, and for UNets `kohya_lora_weights.safetensors`.

    Nothing is written where diffusers has no loader for the network.

    The factor alpha / rank is in the weights: loaders that know no alpha, and those that take a missing one for the rank, agree.

    Args:
        tuner: attached.
        folder: that is there.
    """
    prefix = PREFIXES.get(type(tuner.network).__name__)
    if prefix is None:
        return
    layers = _layers(tuner)
    save_file({f"{prefix}.{name}": value for name, value in layers.items()}, folder / FILE, {"format": "pt"})
    if prefix == UNET and not tuner.config.dora:
        save_file(_kohya(layers), folder / KOHYA, {"format": "pt"})


def _layers(tuner: LoRA) -> dict[str, Tensor]:
    """The matrices by their names in the network, with the factor in the one that is applied last."""
    from peft import get_peft_model_state_dict

    config: Any = tuner.model.peft_config["default"]
    scale = config.lora_alpha / config.r
    state = get_peft_model_state_dict(tuner.model)
    return {
        name.removeprefix("base_model.model."): (value * scale if ".lora_B." in name else value)
        .detach()
        .cpu()
        .contiguous()
        for name, value in state.items()
    }


def _kohya(layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same by kohya's names, an alpha beside each layer."""
    found = {}
    for name, value in layers.items():
        layer, _, kind = name.removesuffix(".weight").rpartition(".")
        layer = f"lora_unet_{layer.replace('.', '_')}"
        found[f"{layer}.{MATRICES[kind]}.weight"] = value
        if kind == "lora_A":
            found[f"{layer}.alpha"] = torch.tensor(float(len(value)))
    return found
