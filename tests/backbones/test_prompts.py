"""Embeddings that are kept are those that were made, and encoders that lie elsewhere are asked there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.families import text
from difftuning.backbones.text_to_image import TextToImage
from difftuning.data.embeddings import EmbeddingFiles
from difftuning.types import Condition


def asked(model: TextToImage) -> list[int]:
    """Grows by one with each prompt that the encoder is asked for."""
    calls: list[int] = []
    next(iter(model.encoders.values())).register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("name", ["sd", "pixart"])
def test_what_is_kept_is_what_was_made(name: str, tmp_path: Path) -> None:
    first, second = (text(name, tmp_path / "vocabulary") for _ in range(2))
    assert first.prompt_digest() == second.prompt_digest()
    for model in (first, second):
        model.embeddings.store = EmbeddingFiles(tmp_path, model.prompt_digest())
    calls, again = asked(first), asked(second)
    made, kept = (model.embeddings(["an ant", "a bee", ""]).named() for model in (first, second))
    assert len(calls) == 3
    assert again == []
    assert made.keys() == kept.keys()
    assert all(torch.equal(made[part], kept[part]) and made[part].dtype == kept[part].dtype for part in made)


def test_a_damaged_file_is_made_again_and_other_encoders_have_files_of_their_own(tmp_path: Path) -> None:
    first, second, other = (text("sd", tmp_path / "vocabulary") for _ in range(3))
    with torch.no_grad():
        next(other.encoders["text_encoder"].parameters()).add_(0.1)
    for model in (first, second, other):
        model.embeddings.store = EmbeddingFiles(tmp_path, model.prompt_digest())
    made = first.embeddings(["an ant"]).states
    assert not torch.equal(other.embeddings(["an ant"]).states, made)
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    calls = asked(second)
    assert torch.equal(second.embeddings(["an ant"]).states, made)
    assert len(calls) == 1


def test_encoders_in_host_memory_serve_a_network_elsewhere(tmp_path: Path) -> None:
    model = text("sd", tmp_path)
    model.network.to("meta")
    calls = asked(model)
    model.offload()
    assert len(calls) == len(model.labels) + 1  # and the empty prompt
    x_t, t = torch.empty(2, *model.sample_shape, device="meta"), torch.empty(2, device="meta")
    answer = model(x_t, t, Condition(torch.tensor([0, model.labels.null])))
    assert answer.device.type == "meta"
    assert model.codec.decode(torch.zeros(1, *model.sample_shape)).device.type == "cpu"
    assert len(calls) == len(model.labels) + 1
