"""The traps of diffusers' DiT, each shown on the real class and shown to be mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiTPipeline, DiTTransformer2DModel
from safetensors.torch import load_file, save_file

from difftuning.backbones.codec import IdentityCodec, VAECodec
from difftuning.backbones.dit import DiT
from difftuning.backbones.labels import Extend, FromSource, Keep, Replace
from difftuning.backbones.loading import SOURCE_TREE, load, zoo_names
from difftuning.errors import ModelError
from difftuning.types import Condition
from tiny import narrow_dit_xl, save_tiny_dit, tiny_dit


def answer(model: DiT, labels: list[int], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(len(labels), *model.sample_shape, generator=generator)
    with torch.no_grad():
        return model(x_t, torch.linspace(0, 999, len(labels)).round(), Condition(torch.tensor(labels)))


def test_train_mode_does_not_drop_labels() -> None:
    model = tiny_dit()
    model.network.train()
    first = answer(model, [0, 1, 2, 3] * 8)
    assert all(torch.equal(first, answer(model, [0, 1, 2, 3] * 8)) for _ in range(3))


def test_embedders_are_one_module_with_one_gradient() -> None:
    model = tiny_dit()
    embedders = {id(block.norm1.emb) for block in model.network.transformer_blocks}
    assert len(embedders) == 1
    names = [name for name, _ in model.network.named_parameters() if "class_embedder" in name]
    assert names == ["transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"]


def test_export_is_untied_and_plain_diffusers_gives_the_same_answer(tmp_path: Path) -> None:
    model = tiny_dit()
    model.save(tmp_path)
    plain = DiTTransformer2DModel.from_pretrained(tmp_path / "transformer").eval()
    assert (
        len({block.norm1.emb.class_embedder.embedding_table.weight.data_ptr() for block in plain.transformer_blocks})
        == 2
    )
    x_t, t, labels = torch.randn(3, 3, 8, 8), torch.tensor([1, 500, 999]), torch.tensor([0, 3, 4])
    with torch.no_grad():
        assert torch.equal(plain(x_t, t, labels).sample, model(x_t, t.float(), Condition(labels)))
    assert isinstance(DiTPipeline.from_pretrained(tmp_path, vae=None).scheduler, DDPMScheduler)


def test_a_dit_of_latents_with_few_classes_draws_in_plain_diffusers_without_guidance(tmp_path: Path) -> None:
    narrow_dit_xl(classes=5).save(tmp_path)
    pipeline = DiTPipeline.from_pretrained(tmp_path)
    drawn = pipeline([0, 4], guidance_scale=1, num_inference_steps=2, output_type="np")
    assert drawn.images.shape[0] == 2


def test_save_and_load_keep_digest_names_and_answer(tmp_path: Path) -> None:
    model = tiny_dit()
    again = load(str(save_tiny_dit(tmp_path)))
    assert again.digest() == model.digest()
    assert again.labels == model.labels
    assert torch.equal(answer(again, [0, 1, 4]), answer(model, [0, 1, 4]))


def test_a_weight_that_is_missing_is_named_and_not_made_up(tmp_path: Path) -> None:
    tiny_dit().save(tmp_path)
    path = tmp_path / "transformer/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["transformer_blocks.0.attn1.to_q.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of its weights \(transformer_blocks.0.attn1.to_q.weight\)"):
        load(str(tmp_path))


def test_every_model_of_the_source_tree_is_in_the_zoo() -> None:
    assert {*SOURCE_TREE} <= {*zoo_names()}


def test_embedders_that_drifted_apart_stay_as_they_are(tmp_path: Path) -> None:
    model = tiny_dit()
    model.save(tmp_path)
    plain = DiTTransformer2DModel.from_pretrained(tmp_path / "transformer")
    torch.nn.init.normal_(plain.transformer_blocks[1].norm1.emb.class_embedder.embedding_table.weight)
    plain.save_pretrained(tmp_path / "transformer")
    drifted = load(str(tmp_path))
    x_t, t, labels = torch.randn(2, 3, 8, 8), torch.tensor([1, 999]), torch.tensor([0, 3])
    with torch.no_grad():
        assert torch.equal(plain.eval()(x_t, t, labels).sample, drifted(x_t, t.float(), Condition(labels)))
    with pytest.raises(ModelError, match=r"labels.kind=keep"):
        drifted.change_labels(Replace(), ("a",))


def test_null_row_survives_every_change_of_labels(tmp_path: Path) -> None:
    target = ("class-1", "new")
    for number, change in enumerate((Replace(), Extend(), FromSource(start={"new": "class-2"}))):
        model = tiny_dit()
        null = answer(model, [model.labels.null] * 3)
        rows = model.change_labels(change, target)
        assert torch.equal(answer(model, [model.labels.null] * 3), null)
        assert tuple(model.labels.names[row] for row in rows) == target
        model.save(tmp_path / str(number))
        assert torch.equal(answer(load(str(tmp_path / str(number))), rows.tolist()), answer(model, rows.tolist()))


def test_where_new_classes_start() -> None:
    source = tiny_dit()
    replaced, started = tiny_dit(), tiny_dit()
    (row,) = replaced.change_labels(Replace(), ("new",)).tolist()
    assert torch.equal(answer(replaced, [row]), answer(source, [source.labels.null]))
    (row,) = started.change_labels(FromSource(start={"new": "class-2"}), ("new",)).tolist()
    assert torch.equal(answer(started, [row]), answer(source, [2]))


def test_extend_shares_a_class_of_the_same_name() -> None:
    model = tiny_dit()
    assert model.change_labels(Extend(), ("class-1", "new")).tolist() == [1, 4]
    assert len(model.labels) == 5


def test_keep_takes_names_or_positions_and_refuses_too_many() -> None:
    assert tiny_dit().change_labels(Keep(), ("class-3", "class-0")).tolist() == [3, 0]
    assert tiny_dit().change_labels(Keep(), ("a", "b")).tolist() == [0, 1]
    with pytest.raises(ModelError, match=r"has 5 classes, the model 4"):
        tiny_dit().change_labels(Keep(), tuple("abcde"))


def test_an_unknown_class_gets_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'class-2'"):
        tiny_dit().change_labels(FromSource(start={"new": "clas-2"}), ("new",))


def test_of_two_classes_of_one_name_the_first_is_meant() -> None:
    source = tiny_dit()
    model = DiT(source.network, source.scheduler, names=("cat", "crane", "dog", "crane"))
    assert model.labels.indices(["crane", "dog"]).tolist() == [1, 2]
    assert model.change_labels(Keep(), ("crane",)).tolist() == [1]


def test_the_noise_digest_is_of_process_prediction_and_law_and_of_nothing_else() -> None:
    network = tiny_dit().network

    def digest(**config: Any) -> str:
        return DiT(network, DDPMScheduler(**config)).noise_digest()

    same = digest(clip_sample=False), digest(steps_offset=1, timestep_spacing="trailing")
    assert same == (digest(), digest())
    others = [{"prediction_type": "v_prediction"}, {"beta_end": 0.03}, {"num_train_timesteps": 500}]
    assert len({digest(), *(digest(**other) for other in others)}) == 4


def test_a_variance_that_is_not_between_the_bounds_is_refused() -> None:
    network = tiny_dit(learned_variance=True).network
    assert DiT(network, DDPMScheduler(variance_type="learned_range")).learned_variance
    with pytest.raises(ModelError, match="variance_type 'learned'"):
        DiT(network, DDPMScheduler(variance_type="learned"))


def test_learned_variance_is_read_from_the_channels() -> None:
    assert tiny_dit(learned_variance=True).learned_variance
    assert answer(tiny_dit(learned_variance=True), [0]).shape == (1, 6, 8, 8)


def tiny_vae(channels: int = 3, **options: Any) -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=channels,
        scaling_factor=0.5,
        shift_factor=0.1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        **options,
    )


def test_an_autoencoder_that_lists_mean_and_deviation_by_channel(tmp_path: Path) -> None:
    """As StableDiffusionXLPipeline decodes: latents * std / scaling_factor + mean."""
    pixel, means, stds = tiny_dit(), [0.2, -0.4, 0.0], [2.0, 0.5, 1.0]
    vae = tiny_vae(latents_mean=means, latents_std=stds)
    DiT(pixel.network, pixel.scheduler, vae, pixel.labels.names).save(tmp_path)
    codec = load(str(tmp_path)).codec
    latents = torch.randn(2, 3, 8, 8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (means, stds))
    with torch.no_grad():
        theirs = vae.eval().decode(latents * std / 0.5 + mean).sample.clamp(-1, 1)
        posterior = vae.encode(theirs).latent_dist.mode()
    assert torch.allclose(codec.decode(latents), theirs, atol=1e-6)
    assert torch.allclose(codec.encode(theirs), (posterior - mean) / std * 0.5, atol=1e-6)


def test_an_autoencoder_of_other_channels_is_refused() -> None:
    pixel = tiny_dit()
    with pytest.raises(ModelError, match="makes 4 channels and the network takes 3"):
        DiT(pixel.network, pixel.scheduler, tiny_vae(4), pixel.labels.names)


def test_latent_model_with_a_vae(tmp_path: Path) -> None:
    pixel, vae = tiny_dit(), tiny_vae()
    DiT(pixel.network, pixel.scheduler, vae, pixel.labels.names).save(tmp_path)
    model = load(str(tmp_path))
    assert isinstance(model.codec, VAECodec)
    assert model.image_size == 16
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        mean = vae.eval().encode(images).latent_dist.mean
    assert torch.allclose(model.codec.encode(images), (mean - 0.1) * 0.5, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(model.codec.decode((mean - 0.1) * 0.5), vae.decode(mean).sample.clamp(-1, 1), atol=1e-5)


def test_pixels_need_no_codec() -> None:
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    assert torch.equal(IdentityCodec().decode(IdentityCodec().encode(images)), images)
    assert tiny_dit().image_size == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [("dit-icon-32", "did you mean"), ("./nowhere", "no model './nowhere'")],
)
def test_a_model_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(name)


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model_index.json"):
        load(str(tmp_path))
    (tmp_path / "model_index.json").write_text('{"_class_name": "DiTPipelin"}')
    with pytest.raises(ModelError, match="did you mean 'DiTPipeline'"):
        load(str(tmp_path))
