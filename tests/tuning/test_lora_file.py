"""The file of a LoRA through diffusers' own loaders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.loaders import FluxLoraLoaderMixin, SD3LoraLoaderMixin, StableDiffusionLoraLoaderMixin
from safetensors.torch import load_file
from torch import nn

from difftuning.tuning.lora import LoRA, LoRAConfig
from difftuning.tuning.lora_file import FILE, KOHYA
from difftuning.tuning.store import save_tuner
from networks import NETS


def trained(name: str, config: LoRAConfig) -> LoRA:
    """A LoRA whose every matrix is random, so that all of it acts."""
    tuner = LoRA(config)
    tuner.attach(NETS[name].make())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in tuner.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return tuner


def load_into(name: str, network: nn.Module, folder: Path) -> None:
    if name == "unet":
        state, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(folder, return_lora_metadata=True)
        StableDiffusionLoraLoaderMixin.load_lora_into_unet(state, alphas, network, metadata=metadata)
    elif name == "sd3":
        state, metadata = SD3LoraLoaderMixin.lora_state_dict(folder, return_lora_metadata=True)
        SD3LoraLoaderMixin.load_lora_into_transformer(state, network, metadata=metadata)
    else:
        state, alphas, metadata = FluxLoraLoaderMixin.lora_state_dict(
            folder, return_alphas=True, return_lora_metadata=True
        )
        FluxLoraLoaderMixin.load_lora_into_transformer(state, alphas, network, metadata=metadata)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("name", ["unet", "sd3", "flux"])
def test_diffusers_loads_what_was_learned(name: str, dora: bool, tmp_path: Path) -> None:
    tuner = trained(name, LoRAConfig(rank=2, alpha=6, dora=dora))
    save_tuner(tuner, tmp_path, "base", "noise", ())
    loaded = NETS[name].make()
    plain = NETS[name].ask(loaded)
    load_into(name, loaded, tmp_path)
    with torch.no_grad():
        ours, theirs = NETS[name].ask(tuner.network), NETS[name].ask(loaded)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    assert (theirs - plain).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_names_of_transformers_are_those_that_comfyui_looks_for(name: str, tmp_path: Path) -> None:
    save_tuner(trained(name, LoRAConfig(rank=2)), tmp_path, "base", "noise", ())
    layers = {layer for layer, _ in NETS[name].make().named_modules()}
    for key in load_file(tmp_path / FILE):
        assert key.startswith("transformer.")
        layer, matrix, weight = key.removeprefix("transformer.").rsplit(".", 2)
        assert layer in layers
        assert (matrix, weight) in {("lora_A", "weight"), ("lora_B", "weight")}
    assert not (tmp_path / KOHYA).exists()


def test_the_file_of_kohya_says_the_same(tmp_path: Path) -> None:
    """Through diffusers' reader of that form, which finds the layers by their names and the factor in alpha."""
    tuner = trained("unet", LoRAConfig(rank=2, alpha=6))
    save_tuner(tuner, tmp_path, "base", "noise", ())
    state, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(tmp_path, weight_name=KOHYA)
    loaded = NETS["unet"].make()
    StableDiffusionLoraLoaderMixin.load_lora_into_unet(state, alphas, loaded)
    with torch.no_grad():
        torch.testing.assert_close(NETS["unet"].ask(loaded), NETS["unet"].ask(tuner.network), rtol=1e-5, atol=1e-5)


def test_dora_is_for_diffusers_alone(tmp_path: Path) -> None:
    save_tuner(trained("unet", LoRAConfig(rank=2, dora=True)), tmp_path, "base", "noise", ())
    assert (tmp_path / FILE).is_file()
    assert not (tmp_path / KOHYA).exists()


def test_a_network_that_diffusers_cannot_load_one_into_gets_the_folder_of_peft_alone(tmp_path: Path) -> None:
    save_tuner(trained("dit", LoRAConfig(rank=2)), tmp_path, "base", "noise", ())
    assert not (tmp_path / FILE).exists()
    assert (tmp_path / "adapter_model.safetensors").is_file()
