"""The networks of `benchmarks/full_width.py` are as large as the published ones, and its loop runs on narrow ones."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from diffusers import DiTTransformer2DModel

from difftuning.workflows.recipe import load

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import full_width  # noqa: E402

NARROW: dict[str, dict[str, Any]] = {
    "dit_xl_2": {"num_attention_heads": 1, "attention_head_dim": 8, "num_layers": 2},
    "edm_imagenet_64": {"model_channels": 8, "channel_mult": (1, 2), "num_blocks": 1, "sample_size": 8},
    "sd_15": {"block_out_channels": (8,) * 4, "norm_num_groups": 4, "attention_head_dim": 4, "layers_per_block": 1},
    "sdxl": {
        "block_out_channels": (8,) * 3,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "transformer_layers_per_block": 1,
        "layers_per_block": 1,
    },
    "sd3_medium": {"num_attention_heads": 1, "attention_head_dim": 8, "num_layers": 2, "caption_projection_dim": 8},
    "pixart_xl_2": {"num_attention_heads": 1, "attention_head_dim": 8, "num_layers": 2, "cross_attention_dim": 8},
}


@pytest.mark.parametrize("name", full_width.MODELS)
def test_parameters_are_as_many_as_published(name: str) -> None:
    model = full_width.MODELS[name]
    assert full_width.counted(model) / 1e6 == pytest.approx(model.millions, rel=2e-3)


def narrow(kind: Any, config: dict[str, Any]) -> Any:
    network = kind(**{key: value for key, value in config.items() if not key.startswith("_")})
    for block in network.transformer_blocks if kind is DiTTransformer2DModel else ():
        block.norm1.emb = network.transformer_blocks[0].norm1.emb
    return network


@pytest.mark.parametrize("name", full_width.MODELS)
def test_a_step_of_each_in_narrow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for function, changes in NARROW.items():
        with full_width.torch.device("meta"):
            published = getattr(full_width, function)()
        monkeypatch.setattr(full_width, function, partial(narrow, type(published), {**published.config, **changes}))
    model = full_width.MODELS[name]
    found = full_width.train(model, load(model.recipe, []), 2)
    assert found["finite"]
    assert 0 < found["trainable"]


def test_what_was_measured_is_of_these_models() -> None:
    found = json.loads((BENCHMARKS / "results/full_width.json").read_text())["models"]
    assert [one["model"] for one in found] == list(full_width.MODELS)
    for one in found:
        assert one["parameters"] == full_width.counted(full_width.MODELS[one["model"]])
        assert one.get("finite", bool(one["not_run"]))
