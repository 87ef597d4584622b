"""A bank has the same bytes however it came to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from difftuning.backbones.labels import LabelSpace
from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.audit import verify
from difftuning.bank.card import describe
from difftuning.bank.card_file import read_card
from difftuning.bank.generate import BankConfig, build, extend, labels_of
from difftuning.bank.read import Bank
from difftuning.bank.store import PATTERN
from difftuning.errors import BankError, ConfigError, StorageError
from difftuning.sampling.denoiser import Clipped, ModelDenoiser
from difftuning.sampling.guidance import ClassifierFreeGuidance
from difftuning.sampling.loop import sample
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.types import Condition
from tiny import tiny_dit

# Shards of 10 in batches of 4, 4 and 2, so that every kind of remainder occurs.
CONFIG = BankConfig(count=23, steps=2, batch_size=4, shard_size=10, seed=3)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank built at once."""
    folder = tmp_path_factory.mktemp("banks") / "whole"
    build(tiny_dit(), make_scheduler, folder, CONFIG, clip=1.0)
    return folder


def test_a_bank_is_its_card_and_its_shards(whole: Path) -> None:
    names = [f"items-{start:08d}-{stop:08d}.safetensors" for start, stop in ((0, 10), (10, 20), (20, 23))]
    assert sorted(contents(whole)) == ["card.json", *names]
    assert (len(Bank(whole)), read_card(whole).config) == (23, CONFIG)


def test_items_are_what_the_sampler_gives_in_any_batch(whole: Path) -> None:
    model = tiny_dit()
    labels = labels_of(range(23), CONFIG, describe(model))
    denoiser = Clipped(
        ClassifierFreeGuidance(ModelDenoiser(model, model.process, model.prediction), 4, CONFIG.guidance), 1.0
    )
    scheduler = make_scheduler("dpm++", model.scheduler_config)
    noise = sample_noise(3, range(23), model.sample_shape)
    x0 = sample(denoiser, model.process, scheduler, Condition(labels), noise, 2, generators(3, range(23)))
    bank = Bank(whole)
    assert torch.equal(bank.labels(torch.arange(23)), labels)
    torch.testing.assert_close(bank.get(torch.arange(23)), x0, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("solver", ["dpm++", "ddpm"])
@pytest.mark.parametrize("steps", [(5, 23), (10, 11, 23), (22, 23), (23,)])
def test_extended_equals_built_at_once(solver: str, steps: tuple[int, ...], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"solver": solver})
    build(tiny_dit(), make_scheduler, tmp_path / "whole", config)
    build(tiny_dit(), make_scheduler, tmp_path / "grown", config.model_copy(update={"count": steps[0]}))
    for count in steps[1:]:
        extend(tiny_dit(), make_scheduler, tmp_path / "grown", count)
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_compiled_blocks_draw_the_same_images_and_go_on_byte_for_byte(whole: Path, tmp_path: Path) -> None:
    compiled, model = CONFIG.model_copy(update={"compile": True}), tiny_dit()
    build(model, make_scheduler, tmp_path / "whole", compiled, clip=1.0)
    assert all(block._compiled_call_impl is None for block in model.network.transformer_blocks)
    items = torch.arange(23)
    torch.testing.assert_close(Bank(tmp_path / "whole").get(items), Bank(whole).get(items), atol=2e-3, rtol=2e-3)
    build(tiny_dit(), make_scheduler, tmp_path / "grown", compiled.model_copy(update={"count": 11}), clip=1.0)
    extend(tiny_dit(), make_scheduler, tmp_path / "grown", 23)
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")
    with pytest.raises(BankError, match=r"config\.compile: None -> True"):
        build(tiny_dit(), make_scheduler, whole, compiled, clip=1.0)


def test_extend_draws_only_the_batches_with_new_items(tmp_path: Path) -> None:
    build(tiny_dit(), make_scheduler, tmp_path, CONFIG.model_copy(update={"count": 15}))
    asked: list[int] = []
    model = tiny_dit()
    model.network.register_forward_hook(lambda module, inputs, output: asked.append(len(inputs[0])))
    extend(model, make_scheduler, tmp_path, 23)
    # Items 14-17 again for 15-17, then 18-19 and 20-23; two steps each, doubled by guidance.
    assert asked == [8, 8, 4, 4, 8, 8]


def test_a_failed_extension_leaves_the_old_bank(tmp_path: Path) -> None:
    build(tiny_dit(), make_scheduler, tmp_path, CONFIG.model_copy(update={"count": 15}))
    before = Bank(tmp_path)

    def stop(done: int, total: int) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend(tiny_dit(), make_scheduler, tmp_path, 23, progress=stop)
    after = Bank(tmp_path)
    assert after.digest == before.digest
    assert torch.equal(after.get(torch.arange(15)), before.get(torch.arange(15)))


@pytest.mark.parametrize("policy", ["balanced", "uniform", "null"])
def test_labels_depend_on_seed_and_item_alone(policy: str) -> None:
    config = BankConfig(count=4000, labels=policy, guidance=1, seed=5)
    model = describe(tiny_dit())
    labels = labels_of(range(4000), config, model)
    assert torch.equal(labels_of([17, 3999, 2], config, model), labels[[17, 3999, 2]])
    counts = torch.bincount(labels, minlength=5)
    if policy == "null":
        assert counts.tolist() == [0, 0, 0, 0, 4000]
    else:
        assert counts[4] == 0
        assert (counts[:4] - 1000).abs().max() <= (0 if policy == "balanced" else 110)  # 4 standard deviations


def test_each_round_of_balanced_labels_has_all_classes_in_an_order_of_its_own() -> None:
    model = describe(tiny_dit()).model_copy(update={"classes": 50, "null_label": 50})
    config = BankConfig(count=150, seed=5)
    rounds = labels_of(range(150), config, model).reshape(3, 50)
    assert all(sorted(one.tolist()) == list(range(50)) for one in rounds)
    assert len({tuple(one.tolist()) for one in rounds}) == 3
    # A bank smaller than the classes are many does not stop at the first ones.
    assert rounds[0, :10].max() > 10


def test_other_settings_are_refused_with_the_difference(whole: Path) -> None:
    before = contents(whole)
    with pytest.raises(BankError, match=r"config\.steps: 2 -> 5") as refusal:
        build(tiny_dit(), make_scheduler, whole, CONFIG.model_copy(update={"steps": 5}), clip=1.0)
    assert "config.seed" not in str(refusal.value)
    with pytest.raises(BankError, match=r"model\.digest"):
        build(tiny_dit(seed=1), make_scheduler, whole, CONFIG, clip=1.0)
    with pytest.raises(BankError, match="bank extend"):
        build(tiny_dit(), make_scheduler, whole, CONFIG.model_copy(update={"count": 30}), clip=1.0)
    with pytest.raises(BankError, match="ask for more than it has"):
        extend(tiny_dit(), make_scheduler, whole, 5)
    assert contents(whole) == before


def test_building_again_mends_what_is_missing_torn_or_flipped(whole: Path, tmp_path: Path) -> None:
    expected = contents(whole)
    for name, content in expected.items():
        (tmp_path / name).write_bytes(content)
    first, second, third = sorted(tmp_path.glob(PATTERN))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    flipped = bytearray(third.read_bytes())
    flipped[-7] ^= 4
    third.write_bytes(flipped)
    build(tiny_dit(), make_scheduler, tmp_path, CONFIG, clip=1.0)
    assert contents(tmp_path) == expected


def test_building_a_finished_bank_again_draws_and_writes_nothing(whole: Path) -> None:
    model, asked = tiny_dit(), []
    model.network.register_forward_hook(lambda module, inputs, output: asked.append(len(inputs[0])))
    before = {path.name: path.stat().st_mtime_ns for path in whole.iterdir()}
    assert build(model, make_scheduler, whole, CONFIG, clip=1.0) == read_card(whole)
    assert asked == []
    assert {path.name: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def test_shards_of_unknown_origin_are_not_taken_in(whole: Path, tmp_path: Path) -> None:
    shard = next(whole.glob(PATTERN))
    (tmp_path / shard.name).write_bytes(shard.read_bytes())
    with pytest.raises(BankError, match=r"without card\.json"):
        build(tiny_dit(), make_scheduler, tmp_path, CONFIG)


def test_an_item_that_is_not_finite_stops_the_build(tmp_path: Path) -> None:
    model = tiny_dit()
    with torch.no_grad():
        model.network.proj_out_2.bias.fill_(float("nan"))
    with pytest.raises(BankError, match="item 0 of the bank is not finite"):
        build(model, make_scheduler, tmp_path, CONFIG)
    # Nothing was drawn, so other settings may be tried in the same folder.
    build(tiny_dit(), make_scheduler, tmp_path, CONFIG.model_copy(update={"steps": 3, "dtype": "float32"}))
    assert verify(tmp_path).ok


def test_wrong_settings_name_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set guidance=1"):
        BankConfig(labels="null")
    with pytest.raises(ConfigError, match=r"dpm\+\+"):
        build(tiny_dit(), make_scheduler, tmp_path / "none", CONFIG.model_copy(update={"solver": "dpm+"}))
    assert not (tmp_path / "none").exists()


def test_a_model_without_classes_is_drawn_under_no_condition_and_without_guidance(tmp_path: Path) -> None:
    model, asked = tiny_dit(), []
    model.labels = LabelSpace(())
    model.network.register_forward_hook(lambda module, inputs, output: asked.append(len(inputs[0])))
    build(model, make_scheduler, tmp_path / "balanced", CONFIG.model_copy(update={"guidance": 3.0}))
    assert max(asked) == CONFIG.batch_size, "a guided pass asks for twice the batch"
    null = CONFIG.model_copy(update={"labels": "null", "guidance": 1.0})
    build(model, make_scheduler, tmp_path / "null", null)
    assert torch.equal(*(Bank(tmp_path / name).get(torch.arange(CONFIG.count)) for name in ("balanced", "null")))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file/bank/plan\.json could not be written"):
        build(tiny_dit(), make_scheduler, tmp_path / "file" / "bank", CONFIG)


def test_a_model_in_train_mode_is_sampled_in_eval_mode_and_given_back(tmp_path: Path) -> None:
    model = tiny_dit()
    model.network.train()
    modes: list[bool] = []
    model.network.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    build(model, make_scheduler, tmp_path, CONFIG.model_copy(update={"count": 1}))
    assert modes
    assert not any(modes)
    assert model.network.training
