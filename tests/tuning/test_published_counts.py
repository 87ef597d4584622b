"""The numbers of trained parameters that the baselines publish, on a DiT-XL/2 with 101 classes at its full width."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel

from difftuning.tuning import KINDS, build

TABLE = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"


def dit_xl_2() -> Any:
    """Without weights; its blocks share one embedder, as the published model's do."""
    with torch.device("meta"):
        network = DiTTransformer2DModel(
            num_attention_heads=16,
            attention_head_dim=72,
            in_channels=4,
            out_channels=8,
            num_layers=28,
            sample_size=32,
            patch_size=2,
            num_embeds_ada_norm=101,
        )
    for block in network.transformer_blocks[1:]:
        block.norm1.emb = network.transformer_blocks[0].norm1.emb
    return network


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"kind": "full"}, 673_799_072),
        ({"kind": "bitfit"}, 607_136),
        ({"kind": "lora", "rank": 8, "targets": ["*.to_q", "*.to_v"]}, 1_149_696),
        ({"kind": "lora", "rank": 16, "targets": ["*.to_q", "*.to_v"]}, 2_181_888),
        ({"kind": "difffit"}, 835_232),
        ({"kind": "adaptformer", "bottleneck": 64}, 4_280_320),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_as_many_as_published(config: dict[str, object], count: int) -> None:
    tuner = build(KINDS[str(config["kind"])][0].model_validate(config))
    assert sum(value.numel() for value in tuner.attach(dit_xl_2(), [TABLE]).values()) == count
