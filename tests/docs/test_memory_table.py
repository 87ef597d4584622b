"""What docs/how-to/text-to-image.md says that weights take is counted from networks of the published size, without weights."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from difftuning.training.memory import size_of

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import full_width  # noqa: E402
import scaling  # noqa: E402

GIB = 2**30
TRAINED = 5
"""Times what a weight takes: itself, its gradient, two moments and its average."""


def clip(kind: type[CLIPTextModel], width: int, layers: int, heads: int) -> CLIPTextModel:
    return kind(
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
        )
    )


def t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
    )


def autoencoder(channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=channels,
    )


def test_the_table_is_the_arithmetic_that_it_says_it_is() -> None:
    def took(*made: nn.Module) -> int:
        return sum(size_of(one.parameters()) for one in made)

    with torch.device("meta"):
        small, projected = (clip(kind, 768, 12, 12) for kind in (CLIPTextModel, CLIPTextModelWithProjection))
        large, long = clip(CLIPTextModelWithProjection, 1280, 32, 20), t5()
        parts: dict[str, tuple[Any, tuple[nn.Module, ...], int]] = {
            "sd-1.5": (full_width.sd_15(), (small,), 4),
            "sdxl-lora": (full_width.sdxl(), (small, large), 4),
            "sd3-medium-lora": (full_width.sd3_medium(), (projected, large, long), 16),
            "flux-lora": (scaling._flux(), (small, long), 16),
            "pixart": (full_width.pixart_xl_2(), (long,), 4),
        }
        codecs = {channels: took(autoencoder(channels)) for channels in (4, 16)}
    page = (ROOT / "docs" / "how-to" / "text-to-image.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `paper/([\w.-]+)`(.*?) \| ([\d.]+) \| (.*) \|$", page, re.MULTILINE)
    assert {name for name, *_ in rows} == parts.keys()
    for name, how, first, others in rows:
        network, encoders, channels = parts[name]
        codec, own, away = codecs[channels], took(network), took(*encoders)
        state = own * (TRAINED if "all weights" in how else 1)
        said = [float(value) for value in (first, *others.split(" | "))]
        counted = [own, away, codec, state + away + codec, max(state, own + codec)]
        assert said == [round(value / GIB, 1) for value in counted], name
