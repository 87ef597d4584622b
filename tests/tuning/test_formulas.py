"""What tuners add to a network is what their papers say, computed again by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from difftuning.tuning import KINDS, Tuner, build
from networks import NETS

DIT = NETS["dit"]
RANK = 2


def tuned(kind: str, **settings: object) -> tuple[Any, Tuner]:
    """The DiT under a tuner whose every parameter was moved to the same place by the same seed."""
    network, tuner = DIT.make(), build(KINDS[kind][0].model_validate({"kind": kind, **settings}))
    tuner.attach(network, seed=0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in tuner.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network, tuner


def adapted(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer of peft answers, and what its low-rank product alone gives."""
    with torch.no_grad():
        return layer(x) - layer.base_layer(x), layer.lora_B["default"](layer.lora_A["default"](x))


@pytest.mark.parametrize(("alpha", "factor"), [(None, 1.0), (1.0, 0.5), (3.0 * RANK, 3.0)])
def test_lora_adds_its_product_times_alpha_over_rank(alpha: float | None, factor: float) -> None:
    network, _ = tuned("lora", rank=RANK, alpha=alpha)
    change, product = adapted(network.transformer_blocks[1].attn1.to_v, torch.randn(2, 5, 16))
    assert float(product.abs().max()) > 0.01
    torch.testing.assert_close(change, factor * product, rtol=1e-4, atol=1e-6)


def test_dora_gives_each_row_a_length_of_its_own() -> None:
    network, tuner = tuned("lora", rank=RANK, dora=True)
    assert any("lora_magnitude_vector" in name for name in tuner.parameters)
    layer, x = network.transformer_blocks[1].attn1.to_v, torch.randn(2, 5, 16)
    with torch.no_grad():
        weight = layer.base_layer.weight + layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        rows = layer.lora_magnitude_vector["default"].weight[:, None] * nn.functional.normalize(weight)
        expected = nn.functional.linear(x, rows, layer.base_layer.bias)
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_dropout_of_lora_acts_in_training_alone() -> None:
    network, _ = tuned("lora", rank=RANK, dropout=0.5)
    layer, x = network.transformer_blocks[1].attn1.to_v, torch.ones(2000, 16)
    network.eval()
    assert torch.equal(layer(x), layer(x))
    change, product = adapted(layer, x)
    torch.testing.assert_close(change, product, rtol=1e-4, atol=1e-5)
    network.train()
    again = adapted(layer, x)[0]
    assert not torch.equal(again, adapted(layer, x)[0])
    # What is kept is doubled, so the mean stays; each input is tossed for, so the variance of a row is the sum of its squares.
    weight = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    spread = weight.square().sum(1).sqrt()
    assert bool(((again - change).mean(0).abs() < 4 * spread / 2000**0.5).all())
    torch.testing.assert_close((again - change).std(0), spread, rtol=0.1, atol=0.0)


@pytest.mark.parametrize("scale", [0.1, 0.7])
def test_adaptformer_adds_its_branch_to_the_answer_of_the_layer(scale: float) -> None:
    network, _ = tuned("adaptformer", bottleneck=4, scale=scale)
    plain, x = DIT.make().transformer_blocks[1].ff, torch.randn(2, 5, 16)  # type: ignore[union-attr, index]
    layer = network.transformer_blocks[1].ff
    with torch.no_grad():
        narrow = layer.adaptformer.down(x).clamp(min=0)
        assert 0 < int((narrow == 0).sum()) < narrow.numel()
        torch.testing.assert_close(layer(x), plain(x) + scale * layer.adaptformer.up(narrow), rtol=1e-4, atol=1e-6)


def test_vpt_deep_puts_its_tokens_in_front_of_each_block_and_takes_them_off_behind_it() -> None:
    network, _ = tuned("vpt-deep", tokens=3)
    plain = DIT.make().transformer_blocks  # type: ignore[union-attr]
    x, asked = torch.randn(2, 5, 16), {"timestep": torch.tensor([3, 900]), "class_labels": torch.tensor([0, 4])}
    tokens = [block.prompt.tokens for block in network.transformer_blocks]
    assert not torch.equal(*tokens)
    with torch.no_grad():
        for block, own, alone in zip(network.transformer_blocks, tokens, plain, strict=True):  # type: ignore[arg-type]
            expected = alone(torch.cat([own.expand(2, -1, -1), x], 1), **asked)[:, 3:]
            torch.testing.assert_close(block(x, **asked), expected, rtol=1e-5, atol=1e-6)
            assert not torch.allclose(expected, alone(x, **asked), atol=1e-3)
