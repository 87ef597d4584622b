"""Feature networks on real pictures, their names and digests, and their cache."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from difftuning.data.openmoji import OpenMoji
from difftuning.data.transforms import Transform
from difftuning.errors import ConfigError
from difftuning.evaluation.features import EfficientNetLite0, cached, extract, feature_network, to_uint8


class Mean(nn.Module):
    """A user's network: the mean colour."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3))


def test_a_users_own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("users_module")
    module.Mean = Mean  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users_module", module)
    network = feature_network("module:users_module:Mean")
    images = torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)
    assert torch.equal(network(images), torch.full((2, 3), 7.0))
    assert network.name == "users_module:Mean"
    with pytest.raises(ConfigError, match="write module:package"):
        feature_network("module:users_module:Man")


def test_an_unknown_network_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'efficientnet-lite0'"):
        feature_network("efficientnet-lite")


def test_the_offline_network_is_deterministic_whatever_the_batch(tmp_path: Path) -> None:
    network = feature_network("efficientnet-lite0")
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = extract(images, network)
    assert together.shape == (5, 1280)
    assert torch.equal(together, extract(images, network))
    one_by_one = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, one_by_one, atol=1e-4)
    assert not network.is_fid


def test_cached_features_are_the_same_bits_and_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    network = feature_network("efficientnet-lite0")
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first = cached(images, network, tmp_path)
    (entry,) = tmp_path.iterdir()
    assert torch.equal(cached(images, network, tmp_path), first)
    entry.write_bytes(entry.read_bytes()[:100])
    assert torch.equal(cached(images, network, tmp_path), first)
    other = images.clone()
    other[0, 0, 0, 0] ^= 255
    cached(other, network, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_to_uint8_rounds_and_clamps() -> None:
    assert to_uint8(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]


def test_the_offline_network_tells_flags_from_animals(tmp_path: Path) -> None:
    glyphs = OpenMoji(32, tmp_path)
    transform = Transform(32)
    features = {}
    for name in ("Flags", "Animals & Nature"):
        chosen = [i for i in range(len(glyphs)) if glyphs.class_names[glyphs.label(i)] == name][:60:2]
        features[name] = extract(
            to_uint8(torch.stack([transform(glyphs.read(i)) for i in chosen])), EfficientNetLite0()
        )
    flags, animals = features.values()
    centre = torch.stack([flags[:15].mean(0), animals[:15].mean(0)])
    unseen = torch.cat([flags[15:], animals[15:]])
    found = torch.cdist(unseen, centre).argmin(1)
    truth = torch.arange(2).repeat_interleave(15)
    assert float((found == truth).double().mean()) >= 0.9


def test_the_size_is_part_of_the_name_and_of_the_digest() -> None:
    small, usual = feature_network("efficientnet-lite0@64"), feature_network("efficientnet-lite0")
    assert (small.name, usual.name) == ("efficientnet-lite0@64", "efficientnet-lite0@128")
    assert small.digest() != usual.digest()
    with pytest.raises(ConfigError, match="32 or more"):
        feature_network("efficientnet-lite0@16")
    with pytest.raises(ConfigError, match="did you mean 'efficientnet-lite0'"):
        feature_network("efficientnet-lite0@big")


def test_weights_that_are_none_are_named(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(2)}, other)
    with pytest.raises(ConfigError, match="are not the weights of efficientnet-lite0"):
        feature_network("efficientnet-lite0", str(other))
    for name in ("efficientnet-lite0", "inception"):
        with pytest.raises(ConfigError, match=r"evaluation\.weights=.*missing\.pth"):
            feature_network(name, str(tmp_path / "missing.pth"))


class Trap:
    """What a hostile weights file may hold."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "inception"])
def test_a_weights_file_runs_no_code(name: str, tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "trap.pth"
    torch.save({"a": Trap(mark)}, file)
    with pytest.raises(ConfigError, match="weights alone"):
        feature_network(name, str(file))
    assert not mark.exists()
    torch.load(file, weights_only=False)  # the trap is a trap
    assert mark.exists()


def test_inception_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ConfigError, match=r"difftuning\[inception\]"):
        feature_network("inception")


@pytest.mark.slow
def test_inception_of_other_weights_is_not_fids(tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Fresh(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state: object) -> None:
            """Keep the random weights."""

    nothing, weights = tmp_path / "nothing.pth", tmp_path / "weights.pth"
    torch.save({}, nothing)
    fresh = Fresh("inception-v3-compat", ["2048"], feature_extractor_weights_path=nothing)
    torch.save(fresh.state_dict(), weights)
    network = feature_network("inception", str(weights))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(network(images), fresh(images)[0])
    assert network(images).shape == (2, 2048)
    assert not network.is_fid
    assert network.name != "inception-v3-fid"


def users(monkeypatch: pytest.MonkeyPatch, network: type[nn.Module]) -> str:
    module = types.ModuleType("users_module")
    monkeypatch.setattr(module, "Net", network, raising=False)
    monkeypatch.setitem(sys.modules, "users_module", module)
    return "module:users_module:Net"


def test_a_users_network_that_answers_nonsense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 2), float("nan"))

    class Wanting(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()

    with pytest.raises(ConfigError, match="finite numbers"):
        extract(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), feature_network(users(monkeypatch, Broken)))
    with pytest.raises(ConfigError, match="without arguments"):
        feature_network(users(monkeypatch, Wanting))


def test_a_users_new_weights_are_another_cache_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(48, 4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.map(images.flatten(1).float())
            return found

    network = feature_network(users(monkeypatch, Linear))
    images = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8)
    first = cached(images, network, tmp_path)
    assert torch.equal(cached(images, network, tmp_path), first)
    with torch.no_grad():
        next(network.network.parameters()).add_(1)
    assert torch.equal(cached(images, network, tmp_path), extract(images, network))
    assert not torch.equal(cached(images, network, tmp_path), first)


def test_one_flipped_bit_in_the_cache_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = feature_network(users(monkeypatch, Mean))
    images = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8)
    first = cached(images, network, tmp_path)
    (entry,) = tmp_path.iterdir()
    content = bytearray(entry.read_bytes())
    content[-2] ^= 1
    entry.write_bytes(content)
    assert torch.equal(cached(images, network, tmp_path), first)
    shutil.rmtree(tmp_path)
    assert torch.equal(cached(images, network, tmp_path), first)
