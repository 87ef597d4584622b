"""Tiny networks of diffusers with random weights, one of each kind that tuners are for, and one input for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import (
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
)
from torch import Tensor, nn

from backbones.families import class_unet, edm_unet
from tiny import tiny_dit
from tiny_text import unet


@dataclass(frozen=True)
class Net:
    """A network and a way to ask it.

    Attributes:
        make: the same weights each time.
        ask: its answer to a fixed input.
        table: the parameter that trains beside a tuner, if it has classes.
        without: kinds of tuners that have no place in it.
    """

    make: Callable[[], nn.Module]
    ask: Callable[[nn.Module], Tensor]
    table: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _random(network: nn.Module) -> nn.Module:
    """Every parameter random, so that zero-initialised layers and gates act."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def _dit() -> nn.Module:
    return _random(tiny_dit().network)


def _unet() -> nn.Module:
    torch.manual_seed(0)
    return _random(unet(16))


def _sd3() -> nn.Module:
    torch.manual_seed(0)
    return _random(
        SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            caption_projection_dim=16,
            pooled_projection_dim=16,
            out_channels=4,
            pos_embed_max_size=8,
        )
    )


def _flux() -> nn.Module:
    torch.manual_seed(0)
    return _random(
        FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
        )
    )


def _pixart() -> nn.Module:
    torch.manual_seed(0)
    return _random(
        PixArtTransformer2DModel(
            num_attention_heads=3,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            cross_attention_dim=24,
            sample_size=8,
            caption_channels=16,
            use_additional_conditions=False,
        )
    )


BLOCKWISE = frozenset({"difffit", "adaptformer", "vpt-deep", "delta"})
"""What needs transformer blocks, and the setting of `delta` that names their layers."""
NETS: dict[str, Net] = {
    "dit": Net(
        _dit,
        lambda net: (
            net(_noise(3, 3, 8, 8), timestep=torch.tensor([3, 500, 900]), class_labels=torch.tensor([0, 1, 4])).sample
        ),
        ("transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight",),
    ),
    "unet": Net(_unet, lambda net: net(_noise(2, 4, 8, 8), 7, encoder_hidden_states=_noise(2, 5, 16)).sample),
    "sd3": Net(
        _sd3,
        lambda net: (
            net(
                _noise(2, 4, 8, 8),
                encoder_hidden_states=_noise(2, 5, 16),
                pooled_projections=_noise(2, 16),
                timestep=torch.tensor([3, 500]),
            ).sample
        ),
    ),
    "flux": Net(
        _flux,
        lambda net: (
            net(
                hidden_states=_noise(2, 16, 16),
                encoder_hidden_states=_noise(2, 5, 16),
                pooled_projections=_noise(2, 16),
                timestep=torch.tensor([0.3, 0.9]),
                img_ids=torch.zeros(16, 3),
                txt_ids=torch.zeros(5, 3),
            ).sample
        ),
    ),
    "pixart": Net(
        _pixart,
        lambda net: (
            net(
                _noise(2, 4, 8, 8),
                encoder_hidden_states=_noise(2, 5, 16),
                timestep=torch.tensor([3, 500]),
                added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            ).sample
        ),
        without=frozenset({"difffit"}),
    ),
    "class unet": Net(
        lambda: _random(class_unet("ddpm").network),
        lambda net: net(_noise(2, 3, 8, 8), torch.tensor([3, 500]), class_labels=torch.tensor([0, 3])).sample,
        ("class_embedding.weight",),
        BLOCKWISE,
    ),
    "edm": Net(
        lambda: edm_unet("adm").network,
        lambda net: net(_noise(2, 3, 8, 8), torch.tensor([0.3, 0.9]), torch.tensor([0, 3])).sample,
        without=BLOCKWISE | {"peft"},
    ),
}
