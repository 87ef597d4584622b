"""EDM networks: the same after a round trip, classes and their null row, checkpointing, and what their parts compute."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from difftuning.backbones.edm_blocks import STYLES, Block, sines
from difftuning.backbones.edm_unet import EDMUNet
from difftuning.errors import ModelError


def tiny(kind: str, num_classes: int = 3, **changes: Any) -> EDMUNet:
    torch.manual_seed(0)
    width = 16 if kind == "ddpmpp" else 32
    sizes = {"sample_size": 8, "model_channels": width, "channel_mult": [1, 2], "num_blocks": 1}
    made: EDMUNet = EDMUNet(
        num_classes=num_classes, kind=kind, attention_resolutions=[4], **{**sizes, **changes}
    ).eval()
    return made


def ask(network: EDMUNet, labels: list[int] | None, timestep: float = 0.3) -> torch.Tensor:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answer: torch.Tensor = network(
            x, torch.full((2,), timestep), labels if labels is None else torch.tensor(labels)
        ).sample
    return answer


def described(network: EDMUNet) -> dict[str, Any]:
    return {name: value for name, value in network.config.items() if not name.startswith("_")}


both = pytest.mark.parametrize("kind", sorted(STYLES))


@both
def test_save_and_load_keep_config_and_answer(kind: str, tmp_path: Path) -> None:
    network = tiny(kind)
    network.save_pretrained(tmp_path)
    again = EDMUNet.from_pretrained(tmp_path).eval()
    assert described(again) == described(EDMUNet.from_config(again.config)) == described(network)
    assert torch.equal(ask(again, [0, 2]), ask(network, [0, 2]))


@both
def test_no_labels_are_the_null_row_which_adds_nothing(kind: str) -> None:
    network = tiny(kind)
    assert not network.class_embedding.weight[-1].any()
    assert torch.equal(ask(network, None), ask(network, [3, 3]))
    alone = tiny(kind, 0)
    weights = {name: value for name, value in network.state_dict().items() if not name.startswith("class_embedding")}
    alone.load_state_dict(weights)
    assert torch.equal(ask(alone, None), ask(network, None))


@both
def test_class_and_noise_level_matter(kind: str) -> None:
    network = tiny(kind)
    assert not torch.allclose(ask(network, [0, 0]), ask(network, [1, 1]), atol=1e-4)
    assert not torch.allclose(ask(network, [0, 0]), ask(network, [0, 0], timestep=-1.0), atol=1e-4)


@both
def test_gradient_checkpointing_gives_the_same_gradients(kind: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        network = tiny(kind).train()
        if checkpointing:
            network.enable_gradient_checkpointing()
            assert network.is_gradient_checkpointing
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        network(x, torch.tensor([0.1, -0.4]), torch.tensor([0, 3])).sample.square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(value, gradients[1][name]) for name, value in gradients[0].items())


@both
def test_a_sample_is_not_changed_by_its_batch(kind: str) -> None:
    network = tiny(kind)
    x, noise, labels = torch.randn(3, 3, 8, 8), torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0, 1, 3])
    with torch.no_grad():
        together = network(x, noise, labels).sample
        alone = torch.cat([network(x[i : i + 1], noise[i], labels[i : i + 1]).sample for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_frequencies_fall_from_one_to_a_ten_thousandth() -> None:
    noise = torch.tensor([0.7])
    last = sines(noise, 8, STYLES["ddpmpp"])[0]
    assert torch.allclose(
        last[[0, 3, 4, 7]], torch.tensor([math.sin(0.7), math.sin(7e-5), math.cos(0.7), math.cos(7e-5)])
    )
    cosines = sines(noise, 8, STYLES["adm"])[0]
    assert torch.allclose(
        cosines[[0, 1, 4, 5]], torch.tensor([math.cos(0.7), math.cos(0.07), math.sin(0.7), math.sin(0.07)])
    )


def test_attention_is_a_softmax_over_pixels() -> None:
    """Query, key and value of a channel side by side, as the published weights have them."""
    torch.manual_seed(0)
    block = Block(128, 128, 4, STYLES["adm"], attention=True)
    assert block.heads == 2
    h = torch.randn(1, 128, 2, 3)
    mixed = block.qkv(block.norm2(h)).flatten(2)[0]
    heads = []
    for head in mixed.chunk(2):
        query, key, value = head[0::3], head[1::3], head[2::3]
        heads.append(value @ functional.softmax(query.T @ key / 8, dim=1).T)
    expected = block.proj(torch.cat(heads).view(1, 128, 2, 3))
    assert torch.allclose(block._attend(h), expected, atol=1e-5)


def test_what_it_refuses() -> None:
    with pytest.raises(ModelError, match="did you mean 'ddpmpp'"):
        tiny("ddpm")
    with pytest.raises(ModelError, match="sample_size 6 cannot be halved 2 times"):
        tiny("adm", sample_size=6, channel_mult=[1, 1, 1])
    with pytest.raises(ModelError, match="without classes"):
        ask(tiny("adm", 0), [0, 0])
