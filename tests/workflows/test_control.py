"""A ControlNet from recipe to report: the bank's controls made like the target's, obedience measured, resume to the same bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from PIL import Image

from backbones.families import text
from bank.test_read import write_bank
from difftuning.backbones.controlnet import Controlled
from difftuning.backbones.loading import load
from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.read import Bank
from difftuning.config.loading import dump_recipe, parse_yaml
from difftuning.data.control_maps import ControlConfig
from difftuning.data.controls import ANNOTATORS, annotator_of
from difftuning.data.latents import LatentSet
from difftuning.errors import ConfigError, DataError, ModelError
from difftuning.json_files import MetricsLog
from difftuning.results import read_rows
from difftuning.sampling.guidance import guided
from difftuning.sampling.loop import sample as solve
from difftuning.types import Condition
from difftuning.workflows import bank, recipe
from difftuning.workflows.assemble import assemble, prepare, target_of
from difftuning.workflows.controls import ControlledBank, controlled_bank
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.display import Silent
from difftuning.workflows.drawing import images_of
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.report import report
from difftuning.workflows.sample import sample
from difftuning.workflows.train import train
from tiny import tiny_dit

SIDE = 16
SHOWN = 132
"""Pixels of a picture on a page, and of what lies between two."""


def picture(index: int) -> Image.Image:
    """A light square on dark ground, at another place in each."""
    pixels = np.full((SIDE, SIDE, 3), 30, np.uint8)
    left = 2 + index % 7
    pixels[3:11, left : left + 6] = (240, 220 - 10 * index, 90)
    return Image.fromarray(pixels)


def edges(index: int) -> torch.Tensor:
    """(1, 1, SIDE, SIDE): its map."""
    return ANNOTATORS["edge"](torch.from_numpy(np.array(picture(index))).permute(2, 0, 1)[None])


def made(tmp_path: Path, *overrides: str) -> Recipe:
    """A recipe over a tiny Stable Diffusion and eight captioned squares."""
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    for index in range(8):
        picture(index).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"a square, number {index}\n")
    if not (tmp_path / "model").is_dir():
        text("sd", tmp_path / "vocabulary").save(tmp_path / "model")
    settings = [
        f"out={tmp_path / 'run'}",
        f"model={tmp_path / 'model'}",
        f"data.target={folder}",
        "data.heldout=3",
        "control={kind: edge, measure_every: 3, items: 3}",
        "text.default_prompt=a picture",
        "bank={count: 6, steps: 2, batch_size: 4, shard_size: 4, guidance: 1.5}",
        "training={steps: 6, batch_size: 4, log_every: 2, heldout_every: 3, sample_every: 6, save_every: 3}",
        "sampling={solver: ddim, steps: 2}",
        "evaluation={samples: 6, heldout_draws: 4}",
        "optim.lr=1e-3",
        "ema.decay=0.5",
        "coefficients.psi.tau=1",
        "threads=1",
        *overrides,
    ]
    return recipe.load("own-images", settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of `made`, and the folder that its model and images are in; read and not trained again."""
    folder = tmp_path_factory.mktemp("control")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFTUNING_CACHE", str(folder / "cache"))
        return folder, train(made(folder))


def test_a_run_from_recipe_to_report(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, done = trained
    before = load(str(folder / "model"))
    assert done["step"] == 6
    # The base is as it was, bit for bit; the ControlNet has moved.
    after = load(done["model"])
    assert isinstance(after, Controlled)
    assert all(torch.equal(one, before.network.state_dict()[name]) for name, one in after.unet.state_dict().items())
    assert any(
        bool(value.any()) for name, value in after.network["controlnet"].state_dict().items() if "controlnet_" in name
    )
    # Obedience, item by item, at the start, on the way and at the end.
    records = [
        record for record in MetricsLog(Path(done["run"]) / "metrics.jsonl").read().records if "consistency" in record
    ]
    assert [record["step"] for record in records] == [0, 3, 6]
    assert all(len(record["consistency_items"]) == 3 for record in records)
    assert records[0]["consistency"] == pytest.approx(np.mean(records[0]["consistency_items"]), abs=1e-6)
    assert (Path(done["run"]) / "samples" / "control-step-00000006.png").is_file()
    with Image.open(Path(done["run"]) / "samples" / "obedience-step-00000006.png") as sheet:
        # The best and the worst of three; in lines their maps, what was drawn, and maps of that.
        assert (round(sheet.width / SHOWN), round(sheet.height / SHOWN)) == (2, 3)
    rows = [row for row in evaluate(Path(done["run"]))["rows"] if row["metric"].startswith("consistency")]
    assert [(row["metric"], row["step"]) for row in rows] == [
        ("consistency_curve", 0),
        ("consistency_curve", 3),
        ("consistency_curve", 6),
        ("consistency", 6),
    ]
    assert rows[-1]["setting"] == {"control": "edge", "measure": "SSIM"}
    assert rows[-1]["value"] == records[-1]["consistency"]
    assert len(read_rows(Path(done["run"]) / "results.json")) > len(rows)
    diagnose(Path(done["run"]), samples=4)
    page = report([Path(done["run"])], tmp_path / "page.html").read_text()
    assert "Whether it obeys its maps" in page
    assert "The measure is edge: SSIM" in page


def test_what_is_written_is_a_pipeline_of_diffusers_that_draws_what_we_draw(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    done = trained[1]
    pipe: Any = StableDiffusionControlNetPipeline.from_pretrained(done["model"])
    assert isinstance(ControlNetModel.from_pretrained(f"{done['model']}/controlnet"), ControlNetModel)
    pipe.set_progress_bar_config(disable=True)
    model = load(done["model"])
    noise = torch.randn(1, *model.sample_shape, generator=torch.Generator().manual_seed(0))
    drawn = pipe(
        "a square", image=edges(2).expand(-1, 3, -1, -1), latents=noise, num_inference_steps=3, guidance_scale=2.0,
        height=SIDE, width=SIDE, output_type="latent",
    ).images  # fmt: skip

    rows = model.rows(["a square"])
    ours = solve(
        guided(model, model.labels.null, 2.0), model.process, make_scheduler("ddim", model.scheduler_config),
        Condition(rows, edges(2)), noise, 3,
    )  # fmt: skip
    assert float((ours - drawn).abs().max()) < 2e-4
    without = solve(
        guided(model, model.labels.null, 2.0), model.process, make_scheduler("ddim", model.scheduler_config),
        Condition(rows), noise, 3,
    )  # fmt: skip
    assert float((without - drawn).abs().max()) > 1e-4


def test_every_item_trains_under_the_map_of_its_own_image(tmp_path: Path) -> None:
    recipe = made(tmp_path, "coefficients.psi={kind: constant, value: 0.5}", "data.flip=true")
    for index, grey in ((3, 30), (4, 90)):  # which have no map to obey
        Image.new("RGB", (SIDE, SIDE), (grey, grey, grey)).save(tmp_path / "images" / f"{index}.png")
    bank.build(recipe)
    run = assemble(prepare(recipe))
    train_set, heldout, controls = run.target.train, run.target.heldout, run.controls
    assert isinstance(train_set, LatentSet)
    assert train_set.mirrored is not None
    assert controls is not None
    for part, blank, items in ((run.target.parts.heldout, 3, heldout), (run.target.parts.train, 4, train_set)):
        assert min(part) < blank < max(part), "else leaving it out would move no other"
        assert items.indices.tolist() == [index for index in part if index != blank]
    assert torch.equal(controls.heldout.get(torch.arange(2)), torch.cat([edges(index) for index in heldout.indices]))
    assert isinstance(run.bank, ControlledBank)
    seen: set[tuple[int, bool]] = set()
    for step in range(4):
        batch = run.trainer.streams.batch(step, (2 * step, 2 * step))
        assert batch.condition.control is not None
        assert batch.condition.control.shape == (4, 1, SIDE, SIDE)
        for x0, control, label, from_bank in zip(
            batch.x0, batch.condition.control, batch.condition.labels.tolist(), batch.draw.from_bank, strict=True
        ):
            if from_bank:
                assert label == run.backbone.default_label
                assert torch.equal(control, ANNOTATORS["edge"](images_of(run.backbone, x0[None]))[0])
                continue
            ((place, mirrored),) = [
                (place, mirrored)
                for mirrored, latents in enumerate((train_set.latents, train_set.mirrored))
                for place, one in enumerate(latents)
                if torch.equal(x0, one)
            ]
            # Of the picture itself, not of what the autoencoder makes of it.
            index = int(train_set.indices[place])
            assert torch.equal(control, edges(index)[0].flip(-1) if mirrored else edges(index)[0])
            seen.add((index, bool(mirrored)))
    assert {mirrored for _, mirrored in seen} == {False, True}
    assert {index < 4 for index, _ in seen} == {False, True}


def test_bank_items_without_a_map_are_passed_over(tmp_path: Path) -> None:
    latents, labels = (torch.rand(20, 3, 8, 8) * 2 - 1).half().float(), torch.arange(20)
    latents[3], latents[9] = 0.5, -0.25
    model, whole = tiny_dit(), Bank(write_bank(tmp_path, latents, labels))
    items = controlled_bank(ControlConfig(kind="edge"), whole, model)
    maps = ANNOTATORS["edge"](images_of(model, latents))
    kept = [place for place in range(20) if len(maps[place].unique()) > 1]
    assert {3, 9}.isdisjoint(kept)
    assert len(kept) > 10
    assert len(items) == len(kept)
    places = torch.randperm(len(kept))
    of = torch.tensor(kept)[places]
    assert torch.equal(items.get(places), whole.get(of))
    assert torch.equal(items.labels(places), labels[of])
    assert torch.equal(items.maps.get(places), maps[of])


def test_a_run_that_is_interrupted_ends_as_one_that_is_not(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, whole = trained
    part = made(folder, f"out={tmp_path / 'again'}", f"bank_folder={folder / 'run' / 'bank'}")
    run = assemble(prepare(part))
    run.trainer.run(until=4)
    again = train(part)
    assert again["weights_digest"] == whole["weights_digest"]
    last = [MetricsLog(run / "metrics.jsonl").read().records for run in (folder / "run", tmp_path / "again")]
    items = [[one["consistency_items"] for one in records if "consistency" in one] for records in last]
    assert items[0][-1] == items[1][-1]


def test_the_bank_is_that_of_the_model_without_a_control(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = trained
    plain = made(folder, "control=null", f"out={tmp_path / 'plain'}")
    bank.build(plain)
    assert Bank(plain.bank_path).digest == Bank(folder / "run" / "bank").digest


def test_drawing_under_maps_and_what_is_wrong_about_them(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, done = trained
    run, maps = Path(done["run"]), tmp_path / "maps"
    maps.mkdir()
    for index in range(2):
        Image.fromarray((edges(index)[0, 0] * 255).to(torch.uint8).numpy()).save(maps / f"{index}.png")
    heldout = sample(run, tmp_path / "a", count=3)
    assert all("a-square--number" in file for file in heldout["files"])
    told = [
        sample(run, tmp_path / f"{name}", 2, ["a square"], control=maps / which)["files"]
        for name, which in (("b", "0.png"), ("c", "."), ("d", "1.png"))
    ]
    pixels = [[np.array(Image.open(file)) for file in files] for files in told]
    # Image 0 has its map from 0.png in both, image 1 from another.
    assert np.array_equal(pixels[0][0], pixels[1][0])
    assert np.array_equal(pixels[2][1], pixels[1][1])
    between = shutil.copytree(run, tmp_path / "between") / "recipe.yaml"
    settings = parse_yaml(between.read_text(), "it")
    settings["sampling"]["interpolation"] = {"kind": "constant", "value": 1}
    between.write_text(dump_recipe(settings))
    same = sample(between.parent, tmp_path / "f", count=3)  # weights between, at their end
    for one, other in zip(heldout["files"], same["files"], strict=True):
        assert Path(one).name == Path(other).name
        np.testing.assert_allclose(np.array(Image.open(one), int), np.array(Image.open(other), int), atol=2)
    with pytest.raises(ModelError, match="has a ControlNet; say what it is told: --control"):
        sample(Path(done["model"]), tmp_path / "e")
    with pytest.raises(ModelError, match="has no ControlNet, so it takes no control"):
        sample(folder / "model", tmp_path / "e", control=maps)
    (maps / "2.png").write_text("no picture")
    with pytest.raises(DataError, match=r"2\.png"):
        sample(run, tmp_path / "e", control=maps)


class Notes(Silent):
    """What is said while a run is prepared."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def given(tmp_path: Path, control: str, maps: Callable[[int, Image.Image], NDArray[np.uint8]], count: int = 14) -> str:
    """What is said of maps that come with so many pictures; they lie in another folder."""
    recipe = made(tmp_path, f"control={control.replace('MAPS', str(tmp_path / 'maps'))}")
    (tmp_path / "maps").mkdir(exist_ok=True)
    for index in range(count):
        drawn = picture(index)
        drawn.save(tmp_path / f"images/{index}.png")
        (tmp_path / f"images/{index}.txt").write_text(f"a square, number {index}\n")
        Image.fromarray(maps(index, drawn)).save(tmp_path / f"maps/{index}.png")
    notes = Notes()
    prepare(recipe, notes)
    return "\n".join(notes.said)


def annotated(name: str, drawn: Image.Image) -> NDArray[np.uint8]:
    """What an annotator of ours or the relief makes of a picture, from 0 to 255."""
    kind, _, module = name.partition("=")
    annotator = annotator_of(kind, module or None)
    assert annotator is not None
    return (annotator.annotate(np.array(drawn)) * 255).round().astype(np.uint8).squeeze()


DEPTH = "depth=module:difftuning.data.relief:Relief"
RELIEF = "annotator: 'module:difftuning.data.relief:Relief'"


def test_given_maps_that_say_what_the_annotators_say_pass_in_silence(tmp_path: Path) -> None:
    for control, name in (
        ("{kind: edge, folder: MAPS}", "edge"),
        (f"{{kind: depth, folder: MAPS, {RELIEF}}}", DEPTH),
        ("{kind: segmentation, folder: MAPS}", "segmentation"),
    ):
        assert not given(tmp_path, control, lambda index, drawn, name=name: annotated(name, drawn))


def test_given_maps_that_say_the_opposite_are_refused_with_the_numbers_and_the_mend(tmp_path: Path) -> None:
    control = f"{{kind: depth, folder: MAPS, {RELIEF}}}"
    message = (
        r"the depth maps of control\.folder and those that module:difftuning\.data\.relief:Relief makes .* agree better in 11 of "
        r"11 images with light and dark turned over \(MSE 4\.000 as they are, 0\.000 turned over.*turn the given ones over"
    )
    with pytest.raises(DataError, match=message):
        given(tmp_path, control, lambda index, drawn: 255 - annotated(DEPTH, drawn))
    # Where nothing is made by the annotator there is nothing to contradict.
    alone = "coefficients.psi.tau=0", f"control={control.replace('MAPS', str(tmp_path / 'maps'))}"
    prepare(made(tmp_path, *alone))
    # What was trained is opened as it is.
    target_of(made(tmp_path, alone[1]), load(str(tmp_path / "model")))


def test_given_maps_that_agree_no_better_than_chance_are_warned_of(tmp_path: Path) -> None:
    said = given(
        tmp_path,
        "{kind: edge, folder: MAPS}",
        lambda index, drawn: annotated("edge", picture(3)),  # one for all
    )
    assert "warning: the edge maps of control.folder and those that our annotator makes of the same images" in said
    assert "leave control.folder out to have them made" in said


def test_given_classes_need_an_annotator_unless_they_are_of_our_colours(tmp_path: Path) -> None:
    def another_palette(index: int, drawn: Image.Image) -> NDArray[np.uint8]:
        maps = np.full((SIDE, SIDE, 3), (120, 120, 120), np.uint8)
        maps[3:11] = (6, 230, 230)
        return maps

    with pytest.raises(DataError, match=r"hold the colour \(120, 120, 120\).*set control\.annotator"):
        given(tmp_path, "{kind: segmentation, folder: MAPS}", another_palette)


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["control={kind: depth}"], ConfigError, "control.kind=depth: nothing here makes such maps"),
        (["control={kind: egde}"], ConfigError, "egde"),
        (["control={kind: edge, folder: nowhere}"], DataError, "'nowhere' is no folder"),
        (["control={kind: edge, column: depth}"], DataError, "is no data set"),
        (["tuner.kind=lora"], ConfigError, "a ControlNet trains as a whole, and tuner.kind=lora would not"),
        (["model=dit-icons-32", "text=null"], ModelError, "takes no ControlNet here"),
    ],
)
def test_what_cannot_be_is_said_before_anything_long(
    tmp_path: Path, overrides: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare(made(tmp_path, *overrides))
    assert not (tmp_path / "run").exists()


def test_a_trained_controlnet_goes_on_and_is_refused_without_a_control(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, done = trained
    further = f"model={done['model']}", f"out={tmp_path / 'more'}"
    run = assemble(prepare(made(folder, *further, "coefficients.psi={kind: constant, value: 1}")))
    before = load(done["model"])
    assert all(
        torch.equal(one, before.network.state_dict()[name]) for name, one in run.backbone.network.state_dict().items()
    )
    with pytest.raises(ModelError, match="has a ControlNet; say in the recipe what it is told"):
        prepare(made(folder, *further, "control=null"))


def test_unlocking_trains_the_second_half_of_the_unet_too(tmp_path: Path) -> None:
    overrides = ("control={kind: edge, unlocked: true}", "training.gradient_checkpointing=true")
    made_recipe = made(tmp_path, *overrides, "evaluation.fisher_draws=2")
    before = load(made_recipe.model).network.state_dict()
    after = load(train(made_recipe)["model"])
    assert isinstance(after, Controlled)
    moved = {name.split(".")[0] for name, one in after.unet.state_dict().items() if not torch.equal(one, before[name])}
    assert moved == {"up_blocks", "conv_norm_out", "conv_out"}
    assert "drift_fisher" in {row["metric"] for row in evaluate(made_recipe.folder)["rows"]}
