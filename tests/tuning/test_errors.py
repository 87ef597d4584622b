"""What a tuner cannot do is said before anything is trained, with what is there."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DModel
from pydantic import ValidationError

from difftuning.errors import ConfigError, DifftuningError, ModelError
from difftuning.tuning import KINDS, build
from networks import NETS


def attach(network: torch.nn.Module, **config: object) -> None:
    build(KINDS[str(config["kind"])][0].model_validate(config)).attach(network)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (
            {"kind": "delta", "parameters": ["*.biass"]},
            ConfigError,
            r"'\*.biass' matches no parameter.*Known: .*\*\.linear_1\.bias",
        ),
        (
            {"kind": "lora", "targets": ["*.atn1.to_q"]},
            ConfigError,
            r"matches no layer.*did you mean '\*\.attn1\.to_q'",
        ),
        ({"kind": "lora", "rank": 17}, ConfigError, r"rank=17 is above the size of .*to_q, \(16, 16\).*16 or less"),
        ({"kind": "adaptformer", "bottleneck": 16}, ConfigError, r"bottleneck=16 .*16 wide"),
        ({"kind": "difffit", "depth": 3}, ConfigError, "depth=3 is more than the 2 blocks"),
        ({"kind": "peft", "method": "loha", "options": {"rank": 2}}, ConfigError, "LoHaConfig has no option 'rank'"),
        ({"kind": "peft", "method": "loha", "options": {"target_modules": []}}, ConfigError, "set by tuner.targets"),
        ({"kind": "peft", "method": "oft", "options": {"bias": "all"}}, ConfigError, "cannot be switched off"),
        (
            {"kind": "peft", "method": "loha", "options": {"inference_mode": True}},
            ConfigError,
            "set by the loop, which trains",
        ),
        (
            {"kind": "peft", "method": "loha", "options": {"r": "eight"}},
            ConfigError,
            r"peft cannot make .*'eight'.*options",
        ),
    ],
)
def test_settings_that_do_not_fit(config: dict[str, object], error: type[DifftuningError], message: str) -> None:
    with pytest.raises(error, match=message):
        attach(NETS["dit"].make(), **config)


@pytest.mark.parametrize("kind", ["adaptformer", "vpt-deep", "difffit"])
def test_a_network_without_transformer_blocks(kind: str) -> None:
    convolutions = UNet2DModel(
        block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), norm_num_groups=4
    )
    with pytest.raises(ModelError, match=r"UNet2DModel has none .*use tuner.kind=lora, bitfit, or full"):
        attach(convolutions, kind=kind)


def test_a_network_without_layers_of_known_names() -> None:
    with pytest.raises(ModelError, match=r"name layers in tuner\.targets"):
        attach(torch.nn.Sequential(torch.nn.Linear(4, 4)), kind="lora")


def test_a_method_that_does_not_pass_is_not_offered() -> None:
    with pytest.raises(ValidationError, match="'loha'"):
        KINDS["peft"][0].model_validate({"kind": "peft", "method": "hra"})


def test_a_layer_is_not_taken_for_those_whose_names_end_like_it() -> None:
    network = NETS["flux"].make()
    tuner = build(KINDS["lora"][0].model_validate({"kind": "lora", "rank": 2, "targets": ["proj_out"]}))
    assert {name.rpartition(".lora_")[0] for name in tuner.attach(network)} == {"proj_out"}
