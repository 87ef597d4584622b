"""LoRA in the one file that diffusers' `load_lora_weights` and ComfyUI read, for the networks that have such a loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from difftuning.tuning.lora import LoRA

FILE = "pytorch_lora_weights.safetensors"
LOADERS = {
    "UNet2DConditionModel": ("StableDiffusionLoraLoaderMixin", "unet_lora_layers"),
    "SD3Transformer2DModel": ("SD3LoraLoaderMixin", "transformer_lora_layers"),
    "FluxTransformer2DModel": ("FluxLoraLoaderMixin", "transformer_lora_layers"),
}
"""Network -> the loader of diffusers whose file it is, and the argument of that file's writer."""


def save_lora_file(tuner: LoRA, folder: Path) -> Path | None:
    """Write `pytorch_lora_weights.safetensors` into a folder.

    The factor alpha / rank is in the weights: loaders that know no alpha, and those that take a missing one for the rank, agree.

    Args:
        tuner: attached.
        folder: that is there.

    Returns:
        The file, or None where diffusers has no loader for the network.
    """
    import diffusers.loaders  # takes seconds to import, which other commands need not wait for

    found = LOADERS.get(type(tuner.network).__name__)
    if found is None:
        return None
    loader, argument = found
    getattr(diffusers.loaders, loader).save_lora_weights(folder, **{argument: _layers(tuner)})
    return folder / FILE


def _layers(tuner: LoRA) -> dict[str, Tensor]:
    """The matrices by their names in the network, with the factor in the one that is applied last."""
    from peft import get_peft_model_state_dict

    config: Any = tuner.model.peft_config["default"]
    scale = config.lora_alpha / config.r
    state = get_peft_model_state_dict(tuner.model)
    return {
        name.removeprefix("base_model.model."): (value * scale if ".lora_B." in name else value).detach().cpu()
        for name, value in state.items()
    }
