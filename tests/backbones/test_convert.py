"""Published weights: they give the answers of the network that they came from, and what does not fit is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from difftuning.backbones.convert_dit import dit_network, read_dit
from difftuning.backbones.convert_edm import edm_network
from difftuning.backbones.edm_unet import EDMUNet
from difftuning.backbones.tensor_unpickler import read_pickle
from difftuning.errors import ModelError
from published import dit_weights, edm_weights, small_dit, write_edm


def source(kind: str, num_classes: int = 3) -> EDMUNet:
    torch.manual_seed(0)
    width = 16 if kind == "ddpmpp" else 64
    sizes = {
        "sample_size": 8,
        "model_channels": width,
        "channel_mult": [1, 2],
        "num_blocks": 2,
        "attention_resolutions": [4],
    }
    network: EDMUNet = EDMUNet(num_classes=num_classes, kind=kind, dropout=0.13, **sizes).eval()
    if num_classes and kind == "ddpmpp":  # whose linear layer has a bias
        torch.nn.init.normal_(network.class_embedding.weight)
    return network


def answer(network: Any, labels: list[int] | None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, network.config.in_channels, 8, 8, generator=generator)
    with torch.no_grad():
        found: torch.Tensor = network(
            x, torch.tensor([0.1, 0.5, 0.9]), labels if labels is None else torch.tensor(labels)
        ).sample
    return found


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("kind", ["ddpmpp", "adm"])
def test_an_edm_network_answers_as_the_one_whose_weights_went_in(kind: str, num_classes: int, tmp_path: Path) -> None:
    network = source(kind, num_classes)
    touched = tmp_path / "touched"
    path = write_edm(tmp_path / "edm.pkl", network, source=f"open({str(touched)!r}, 'w')", sigma_data=0.6, sigma_max=50)
    found, scheduler = edm_network(read_pickle(path))
    for labels in [None, *([[0, 2, 3]] if num_classes else [])]:
        assert torch.allclose(answer(found, labels), answer(network, labels), atol=1e-6)
    assert {name: found.config[name] for name in network.config if not name.startswith("_")} == {
        name: value for name, value in network.config.items() if not name.startswith("_")
    }
    config = scheduler.config
    assert (config.sigma_data, config.sigma_min, config.sigma_max) == (0.6, 0.002, 50)
    assert not touched.exists()


def change(weights: dict[str, Any], **changes: Any) -> dict[str, Any]:
    changed = {**weights, **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in changed.items() if value is not ...}


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (r"missing: enc\.8x8_block1\.norm1\.bias$", {"enc__8x8_block1__norm1__bias": ...}),
        (r"left over: dec\.4x4_extra\.weight$", {"dec__4x4_extra__weight": torch.zeros(1)}),
        (r"of another shape: map_layer0\.bias \(3,\) instead of \(64,\)", {"map_layer0__bias": torch.zeros(3)}),
        ("NCSN", {"map_noise__freqs": torch.zeros(8)}),
        ("NCSN", {"enc__4x4_aux_residual__weight": torch.zeros(8)}),
        ("mean of 2 by 2", {"enc__4x4_down__conv0__resample_filter": torch.ones(1, 1, 4, 4)}),
        ("map_label.weight does not fit 3 classes", {"map_label__weight": torch.zeros(16, 4)}),
        ("no encoder for images of side 8", {"enc__8x8_conv__weight": ...}),
    ],
)
def test_edm_weights_that_do_not_fit(message: str, changes: dict[str, Any], tmp_path: Path) -> None:
    network = source("ddpmpp")
    path = write_edm(tmp_path / "edm.pkl", network, change(edm_weights(network), **changes))
    with pytest.raises(ModelError, match=message):
        edm_network(read_pickle(path))


@pytest.mark.parametrize(
    ("message", "attributes"),
    [
        ("wrapped in a 'VPPrecond'", {"precond": "VPPrecond"}),
        ("network is a 'DDPM'; only SongUNet and DhariwalUNet", {"model": "DDPM"}),
        ("img_resolution of the network is 0", {"img_resolution": 0}),
        ("label_dim of the network is many", {"label_dim": "many"}),
        ("sigma_data of the network is no number", {"sigma_data": float("nan")}),
    ],
)
def test_other_classes_and_attributes(message: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    path = write_edm(tmp_path / "edm.pkl", source("ddpmpp"), **attributes)
    with pytest.raises(ModelError, match=message):
        edm_network(read_pickle(path))
    with pytest.raises(ModelError, match="no network under `ema`"):
        edm_network({"G": 1})


@pytest.mark.parametrize("form", ["flat", "ema"])
def test_a_dit_answers_as_the_one_whose_weights_went_in(form: str, tmp_path: Path) -> None:
    network = small_dit()
    weights = dit_weights(network)
    torch.save(weights if form == "flat" else {"model": {}, "ema": weights, "opt": {}}, tmp_path / "dit.pt")
    found, scheduler = dit_network(read_dit(tmp_path / "dit.pt"), heads=2)
    assert torch.allclose(answer(found, [0, 3, 4]), answer(network, [0, 3, 4]), atol=1e-6)
    assert (scheduler.config.beta_schedule, scheduler.config.variance_type) == ("linear", "learned_range")


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (r"missing: transformer_blocks\.1\.attn1\.to_out\.0\.bias$", {"blocks__1__attn__proj__bias": ...}),
        (
            r"left over: blocks\.1\.extra\.weight, something$",
            {"blocks__1__extra__weight": torch.ones(1), "something": torch.ones(1)},
        ),
        ("no DiT: x_embedder.proj.weight is missing", {"x_embedder__proj__weight": ...}),
        ("trained positions", {"pos_embed": torch.zeros(1, 16, 16)}),
    ],
)
def test_dit_weights_that_do_not_fit(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=message):
        dit_network(change(dit_weights(small_dit()), **changes), heads=2)


def test_the_heads_of_a_width_that_was_not_published_must_be_given() -> None:
    with pytest.raises(ModelError, match="heads a DiT of width 16 has is not known"):
        dit_network(dit_weights(small_dit()))


def test_a_pt_file_that_runs_code_or_claims_more_than_it_holds(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(touched), "w")

    torch.save({"ema": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(ModelError, match="no file of tensors"):
        read_dit(tmp_path / "hostile.pt")
    assert not touched.exists()
    torch.save({"pos_embed": torch.zeros(1).expand(1, 10**12, 1)}, tmp_path / "huge.pt")
    with pytest.raises(ModelError, match="no plain weights"):
        read_dit(tmp_path / "huge.pt")
