"""What does not fit on a device is refused before it goes there, and a device that runs out is told with a mend.

The meta device stands for a GPU: modules really move there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.families import controlnet, text
from difftuning.backbones.text_to_image import TextToImage
from difftuning.cli.main import guarded
from difftuning.errors import ConfigError
from difftuning.training.memory import size_of
from difftuning.types import Condition
from difftuning.workflows.device_memory import WORKING, left, mends, place, within_memory
from difftuning.workflows.recipe import load
from difftuning.workflows.train import train

THERE = torch.device("meta")
RAN_OUT = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which 3.10 GiB is free."


@pytest.fixture
def model(tmp_path: Path) -> TextToImage:
    return text("sd3", tmp_path)


def encoders_of(model: TextToImage) -> int:
    return size_of(one for part in model.encoders.values() for one in (*part.parameters(), *part.buffers()))


def others_of(model: TextToImage) -> int:
    parts = (model.network, model.pipe.vae)
    return size_of(one for part in parts for one in (*part.parameters(), *part.buffers()))


def places(model: TextToImage) -> list[str]:
    parts = [model.network, model.pipe.vae, *model.encoders.values()]
    return [next(part.parameters()).device.type for part in parts]


def test_all_goes_where_all_fits(model: TextToImage) -> None:
    room = others_of(model) + encoders_of(model)
    with pytest.raises(ConfigError):
        place(model, THERE, room - 1, offload=False)
    assert {*places(model)} == {"cpu"}, "a refusal moves nothing"
    place(model, THERE, room, offload=False)
    assert {*places(model)} == {"meta"}
    place(model, THERE, 0, offload=False)  # what is there already needs no room


def test_text_encoders_stay_away_only_where_they_would_leave_too_little_for_work(tmp_path: Path) -> None:
    for spare, where in ((1.01, "meta"), (0.99, "cpu")):
        model = text("sd3", tmp_path)
        room = int(spare * (others_of(model) + encoders_of(model)) / (1 - WORKING))
        place(model, THERE, room, offload=True)
        assert places(model)[:2] == ["meta", "meta"]
        assert {*places(model)[2:]} == {where}


def test_a_model_whose_encoders_stay_is_asked_and_offloaded_like_any_other(model: TextToImage) -> None:
    place(model, THERE, others_of(model), offload=True)
    x_t, t = torch.empty(2, *model.sample_shape, device=THERE), torch.empty(2, device=THERE)
    assert model(x_t, t, Condition(torch.tensor([0, model.labels.null]))).device == THERE
    model.to(THERE)
    assert {*places(model)[2:]} == {"cpu"}, "whoever moves it later moves no encoders either"


def test_what_cannot_fit_is_refused_with_what_helps(model: TextToImage) -> None:
    with pytest.raises(ConfigError, match=r"training.offload=true leaves its text encoders, .* in the host's memory"):
        place(model, THERE, others_of(model), offload=False)
    for offload in (False, True):
        with pytest.raises(ConfigError, match=r"weights of .* take .* GiB in float32, .* take a smaller model"):
            place(model, THERE, others_of(model) - 1, offload=offload)


def test_the_frozen_network_under_a_controlnet_counts(tmp_path: Path) -> None:
    model = controlnet("sd", tmp_path)
    with pytest.raises(ConfigError):
        place(model, THERE, others_of(model), offload=True)
    place(model, THERE, others_of(model) + size_of(model.unet.parameters()), offload=True)
    assert next(model.unet.parameters()).device == THERE


def test_a_cpu_has_room_for_what_lies_in_its_memory(model: TextToImage) -> None:
    assert left(torch.device("cpu")) > 0
    place(model, torch.device("cpu"), 0, offload=True)


def test_a_run_that_runs_out_of_memory_is_told_what_would_save_some(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load(str(recipe_file), ["ema.device=cpu", "tuner={kind: lora, rank: 1}"])

    def ran_out(*_: object) -> None:
        raise torch.OutOfMemoryError(RAN_OUT)

    monkeypatch.setattr("difftuning.training.trainer.Trainer.backward", ran_out)
    with pytest.raises(ConfigError) as told:
        train(recipe)
    assert str(told.value) == (
        "CUDA out of memory. Tried to allocate 20.00 GiB; "
        "training.gradient_checkpointing=true keeps a small part of the activations; "
        "training.accumulate=4 keeps those of one sample; "
        "training.offload=true moves autoencoder and text encoders to the host; optim.eight_bit=true saves memory"
    )
    assert mends(recipe)[0] in str(told.value)


def test_a_bank_that_runs_out_of_memory_asks_for_smaller_batches(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran_out(*_: object) -> None:
        raise torch.OutOfMemoryError(RAN_OUT)

    monkeypatch.setattr("difftuning.bank.generate.sample", ran_out)
    with pytest.raises(ConfigError, match=r"20.00 GiB; draw the bank with bank.batch_size=2"):
        train(load(str(recipe_file), []))


def test_other_errors_pass_and_other_verbs_say_it_in_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="other"), within_memory(lambda: ["no mend"]):
        raise RuntimeError("other")

    def ran_out() -> None:
        raise torch.OutOfMemoryError(RAN_OUT)

    assert guarded(ran_out, debug=False) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: CUDA out of memory. Tried to allocate 20.00 GiB; take a smaller model")
