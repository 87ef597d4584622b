"""`convert`, as a user calls it: a whole folder or none, and one line when it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, EDMEulerScheduler

from difftuning.backbones.codec import VAECodec
from difftuning.backbones.edm_unet import EDMUNet
from difftuning.backbones.loading import load
from difftuning.errors import ConfigError, ModelError
from difftuning.types import Condition
from difftuning.workflows.convert import convert
from published import dit_weights, small_dit, write_edm


def edm() -> EDMUNet:
    torch.manual_seed(0)
    return EDMUNet(8, num_classes=2, model_channels=16, channel_mult=[1], num_blocks=1, attention_resolutions=[]).eval()


def test_edm_from_the_command_line(tmp_path: Path) -> None:
    network, out = edm(), tmp_path / "models" / "edm"
    path = write_edm(tmp_path / "edm.pkl", network)
    command = [sys.executable, "-m", "difftuning", "convert", str(path), str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    told = {
        "model": str(out),
        "family": "EDM",
        "network": "EDMUNet",
        "parameters": parameters,
        "sample": "3x8x8",
        "classes": 2,
    }
    assert json.loads(done.stdout) == told
    index = json.loads((out / "model_index.json").read_text())
    assert index["_class_name"] == "EDMPipeline"
    assert index["unet"] == ["difftuning", "EDMUNet"]
    assert index["scheduler"] == ["diffusers", "EDMEulerScheduler"]
    assert index["id2label"] == {"0": "0", "1": "1"}
    assert EDMEulerScheduler.from_pretrained(out / "scheduler").config.sigma_data == 0.5
    x, noise, labels = torch.randn(3, 3, 8, 8), torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0, 1, 2])
    with torch.no_grad():
        again = EDMUNet.from_pretrained(out / "unet").eval()(x, noise, labels).sample
        assert torch.allclose(again, network(x, noise, labels).sample, atol=1e-6)
    assert sorted(one.name for one in out.parent.iterdir()) == ["edm"]
    with pytest.raises(ConfigError, match="exists already"):
        convert(path, out)


def test_dit_with_and_without_its_autoencoder(tmp_path: Path) -> None:
    network = small_dit()
    torch.save(dit_weights(network), tmp_path / "dit.pt")
    torch.save(dit_weights(network), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    vae = AutoencoderKL(latent_channels=3, block_out_channels=(8,), norm_num_groups=4)
    vae.save_pretrained(tmp_path / "vae")
    told = convert(tmp_path / "dit.pt", tmp_path / "out", tmp_path / "vae", heads=2)
    assert (told["family"], told["classes"], told["sample"]) == ("DiT", 4, "3x8x8")
    model = load(str(tmp_path / "out"))
    assert isinstance(model.codec, VAECodec)
    convert(tmp_path / "old.pt", tmp_path / "pixels", heads=2)
    pixels = load(str(tmp_path / "pixels"))
    x, t, labels = torch.randn(2, 3, 8, 8), torch.tensor([1.0, 999.0]), torch.tensor([0, 4])
    with torch.no_grad():
        for one in (model, pixels):
            assert torch.allclose(one(x, t, Condition(labels)), network(x, t, labels).sample, atol=1e-6)


def test_what_cannot_be_converted_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "text.pkl").write_text("hello")
    (tmp_path / "zip.pt").write_bytes(b"PK\x03\x04 and no more")
    write_edm(tmp_path / "edm.pkl", edm())
    torch.save(dit_weights(small_dit()), tmp_path / "dit.pt")
    out = tmp_path / "models" / "out"
    for name, message in (("text.pkl", r"text\.pkl: "), ("zip.pt", r"zip\.pt is no file"), ("none.pkl", "no file")):
        with pytest.raises(ModelError, match=message):
            convert(tmp_path / name, out)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="cannot be made"):
        convert(tmp_path / "dit.pt", tmp_path / "file" / "out", heads=2)
    with pytest.raises(ConfigError, match="heads=-2 is no number"):
        convert(tmp_path / "dit.pt", out, heads=-2)
    AutoencoderKL(latent_channels=4, block_out_channels=(8,), norm_num_groups=4).save_pretrained(tmp_path / "vae4")
    with pytest.raises(ModelError, match="makes 4 channels and the network takes 3"):
        convert(tmp_path / "dit.pt", out, tmp_path / "vae4", heads=2)
    with pytest.raises(ModelError, match="no folder of an autoencoder"):
        convert(tmp_path / "dit.pt", out, tmp_path, heads=2)
    with pytest.raises(ConfigError, match="leave --vae and --heads out"):
        convert(tmp_path / "edm.pkl", out, tmp_path)
    assert not list((tmp_path / "models").iterdir())
