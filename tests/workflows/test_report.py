"""The page of one or more runs, as far as they have come."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from difftuning.config.loading import dump_recipe
from difftuning.errors import ConfigError
from difftuning.json_files import MetricsLog
from difftuning.run_folder import RunFolder
from difftuning.workflows import bank
from difftuning.workflows.diagnose import STRIP, diagnose
from difftuning.workflows.display import Silent
from difftuning.workflows.evaluate import SAMPLES, evaluate
from difftuning.workflows.recipe import load
from difftuning.workflows.report import report, watch
from difftuning.workflows.run_columns import column_names, compared
from difftuning.workflows.run_history import RunHistory
from difftuning.workflows.train import train


def test_a_run_is_reported_as_far_as_it_has_come(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["training.steps=6"]))
    page = report([tmp_path / "run"], tmp_path / "page.html").read_text()
    assert "held-out error of the target" in page
    assert page.count('data-place="') == 2, "the grids of steps 0 and 6"
    assert f"run `difftuning evaluate {tmp_path / 'run'}`" in page
    # It goes on to load itself again until it is judged, and not after.
    assert 'data-reload="1"' in watch([tmp_path / "run"], tmp_path / "page.html", every=1).read_text()
    evaluate(tmp_path / "run")
    page = watch([tmp_path / "run"], tmp_path / "page.html", every=1).read_text()
    assert "data-reload" not in page
    assert "Beside the pretrained model" not in page, "not diagnosed yet"


def test_a_single_run_is_put_beside_the_pretrained_model_and_its_costs_are_told(
    recipe_file: Path, tmp_path: Path
) -> None:
    recipe = load(str(recipe_file), [])
    train(recipe)
    evaluate(recipe.folder)
    diagnose(recipe.folder, samples=4, shares=(0, 1))
    page = report([recipe.folder], tmp_path / "a page.html").read_text()
    assert "Beside the pretrained model that diff-tuning began with, its held-out error is" in page
    assert "and its error on the pretrained model's own samples is" in page.replace("&#39;", "'")
    assert "the better trained method" not in page
    for stage in ("drawing the bank", "training steps", "evaluation", "diagnosis", "all stages"):
        assert f'<th scope="row">{stage}</th>' in page, stage
    assert f"difftuning report {recipe.folder} --out &#39;{tmp_path / 'a page.html'}&#39;" in page


def test_a_page_of_two_runs_has_the_bank_of_the_one_that_drew_it(recipe_file: Path, tmp_path: Path) -> None:
    """The second is standard fine-tuning, which draws none and is not measured on one unless it is told where it lies."""
    folders = []
    for name, overrides in (("plain", ["coefficients.psi.tau=0"]), ("ours", [])):
        recipe = load(str(recipe_file), [f"out={tmp_path / name}", *overrides])
        train(recipe)
        evaluate(recipe.folder)
        diagnose(recipe.folder, samples=4, shares=(0, 1))
        folders.append(recipe.folder)
    page = report(folders, tmp_path / "page.html").read_text()
    assert "The knowledge bank" in page
    assert "on the pretrained model&#39;s own samples" in page
    assert "Diff-Tuning against standard fine-tuning is" in page


def test_runs_that_are_judged_on_other_images_are_told(recipe_file: Path, tmp_path: Path) -> None:
    folders = []
    for name, overrides in (("a", []), ("b", ["data.heldout=2"]), ("c", ["optim.lr=1e-4"])):
        recipe = load(str(recipe_file), [f"out={tmp_path / name}", "training.steps=2", "data.heldout=1", *overrides])
        train(recipe)
        evaluate(recipe.folder)
        folders.append(recipe.folder)
    a, b, c = folders
    told = f"{b} is judged on other held-out images and real images than {a}, so these numbers do not compare"
    assert told in report([a, b], tmp_path / "page.html").read_text()
    assert "is judged on other held-out images" not in report([a, c], tmp_path / "page.html").read_text()


def test_what_is_measured_on_other_banks_or_fewer_images_is_not_compared(recipe_file: Path, tmp_path: Path) -> None:
    folders = []
    for name, overrides in (
        ("plain", ["coefficients.psi.tau=0", f"bank_folder={tmp_path / 'ours/bank'}"]),
        ("ours", []),
        ("shorter", ["bank.steps=1"]),
        ("fewer", ["evaluation.references=2"]),
    ):
        asked = [f"out={tmp_path / name}", "training.steps=2", "data.heldout=4", *overrides]
        recipe = load(str(recipe_file), asked)
        if name == "plain":
            bank.build(recipe)
        train(recipe)
        evaluate(recipe.folder)
        folders.append(recipe.folder)
    plain, ours, shorter, fewer = folders
    alike = report([plain, ours], tmp_path / "page.html").read_text()
    assert "these numbers do not compare" not in alike
    assert "measured in other ways" not in alike
    page = report([plain, shorter], tmp_path / "page.html").read_text()
    assert f"{shorter} is judged on other bank items than {plain}" in page
    assert "on other items or on other numbers of samples, in error on the bank" in page
    page = report([plain, fewer], tmp_path / "page.html").read_text()
    assert f"{fewer} is judged on other real images than {plain}" in page
    assert "A Frechet distance over 2 real images is biased upwards" in page


def test_images_that_are_left_over_are_told_and_shown_as_such(recipe_file: Path, tmp_path: Path) -> None:
    folders = []
    for count in (2, 3):
        asked = [f"out={tmp_path / str(count)}", "training.steps=2", "evaluation.part=test", f"data.per_class={count}"]
        train(load(str(recipe_file), asked))
        evaluate(tmp_path / str(count))
        folders.append(tmp_path / str(count))
    page = report(folders, tmp_path / "page.html").read_text()
    assert f"{folders[1]} is judged on other held-out images and real images than {folders[0]}" in page
    assert "left over, to judge by" in page
    assert "left-over images of the target" in page


def test_a_page_comes_without_pictures_where_a_device_or_a_picture_is_missing(
    recipe_file: Path, tmp_path: Path
) -> None:
    train(load(str(recipe_file), ["training.steps=6"]))
    run = tmp_path / "run"
    evaluate(run)
    for name, content in (("step-00000006-big.png", b""), ("step-00000007.png", b"torn"), ("step-00000008.png", b"")):
        (run / "samples" / name).write_bytes(content)
    page = report([run], tmp_path / "page.html").read_text()
    assert page.count('data-place="') == 2, "the grids of steps 0 and 6"
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("\ndevice: null", "\ndevice: cuda:7"))
    page = report([run], tmp_path / "page.html").read_text()
    assert "Without samples and bank: device &#39;cuda:7&#39;" in page
    assert "held-out error" in page


def test_distances_of_other_networks_have_axes_of_their_own(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), ["training.steps=2"])
    train(recipe)
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    for run, metric in ((tmp_path / "run", "frechet"), (tmp_path / "other", "fid")):
        for step in (0, 2):
            MetricsLog(run / "metrics.jsonl").write(step, {metric: 3.0 + step})
    page = report([tmp_path / "run", tmp_path / "other"], tmp_path / "page.html").read_text()
    assert "Frechet distance (efficientnet-lite0)" in page
    assert "<figcaption><b>FID</b>" in page or ">FID<" in page


def test_a_run_whose_images_are_elsewhere_is_reported_without_its_pictures(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), [])
    train(recipe)
    evaluate(recipe.folder)
    (tmp_path / "images").rename(tmp_path / "moved")
    page = report([recipe.folder], tmp_path / "page.html").read_text()
    assert "Without samples and bank: " in page
    assert "What was measured" in page


def test_what_was_drawn_and_is_missing_leaves_the_rest_of_the_page(recipe_file: Path, tmp_path: Path) -> None:
    run = load(str(recipe_file), []).folder
    train(load(str(recipe_file), []))
    evaluate(run)
    diagnose(run, samples=4, shares=(0, 1))
    for file in (run / STRIP, *(run / "bank").glob("items-*"), run / "samples" / SAMPLES):
        file.unlink()
        page = report([run], tmp_path / "page.html").read_text()
        assert "Without samples and bank: " in page
        assert str(file) in page
        assert "What was measured" in page


def test_watching_compares_what_a_report_would(recipe_file: Path, tmp_path: Path) -> None:
    train(load(str(recipe_file), ["training.steps=2"]))
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match="is named twice"):
        watch([run, run], tmp_path / "page.html", every=1)
    shutil.copytree(tmp_path / "images", tmp_path / "others")
    train(load(str(recipe_file), ["training.steps=2", f"out={tmp_path / 'b'}", f"data.target={tmp_path / 'others'}"]))
    with pytest.raises(ConfigError, match=r"differ in data\.target"):
        watch([run, tmp_path / "b"], tmp_path / "page.html", every=1)
    train(load(str(recipe_file), ["training.steps=2", f"out={tmp_path / 'c'}", f"data.target={tmp_path / 'images'}/"]))
    assert report([run, tmp_path / "c"], tmp_path / "page.html").is_file(), "one folder, however it is written"


def test_watching_follows_a_run_to_its_end(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), ["training.steps=30"])
    pages: list[str] = []

    class Looking(Silent):
        def note(self, text: str) -> None:
            pages.append(text + (tmp_path / "page.html").read_text() if "step" in text else text)

    train(recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": 3})}))
    # The folder now says that there is more to do, as that of a run in another process would.
    RunFolder(tmp_path / "run").recipe.write_text(dump_recipe(recipe.model_dump(mode="json")))
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    trainer = threading.Timer(1.5, train, [recipe])
    trainer.start()
    page = watch([tmp_path / "run"], tmp_path / "page.html", every=1, display=Looking())
    trainer.join()
    assert 'data-reload="1"' in pages[0]
    assert "of 30" in pages[0]
    assert 'data-reload="1"' in page.read_text(), "it is not judged yet"


def test_a_report_does_not_believe_what_was_found_of_another_model(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), ["training.steps=4", "training.heldout_every=1", "optim.lr=0.2", "ema.decay=0"])
    train(recipe)
    run, page = tmp_path / "run", tmp_path / "report.html"
    evaluate(run)
    diagnose(run, samples=4, shares=(0, 1))
    assert "judged" not in report([run], page).read_text()
    train(load(str(run / "recipe.yaml"), ["training.use_best=true"]))
    told = report([run], page).read_text()
    assert f"{run} is not judged as it is now; run `difftuning evaluate {run}`" in told
    assert "held-out error, target" not in told
    evaluate(run)
    assert f"run `difftuning diagnose {run}`" in report([run], page).read_text()


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["finetune + l2-sp", "finetune"], ("finetune + l2-sp", "finetune")),
        (["diff-tuning", "diff-tuning b"], ("diff-tuning b", "diff-tuning")),
        (["diff-tuning", "finetune + ewc"], ("diff-tuning", "finetune + ewc")),
        (["finetune", "diff-tuning"], ("diff-tuning", "finetune")),
        (["diff-tuning", "diff-tuning b", "diff-tuning c"], ("diff-tuning b", "diff-tuning")),
        (["diff-tuning", "finetune + ewc", "finetune + l2-sp"], ("diff-tuning", "finetune + ewc")),
        (["finetune + ewc", "diff-tuning", "finetune"], ("diff-tuning", "finetune")),
    ],
)
def test_two_columns_are_compared_whatever_they_are(columns: list[str], found: tuple[str, str]) -> None:
    assert compared(columns) == found


def test_runs_of_one_folder_name_have_columns_of_their_own(recipe_file: Path, tmp_path: Path) -> None:
    runs = []
    for number, tau in enumerate((0, 1, 0.5, 0.3)):
        runs.append(tmp_path / str(number) / "phase-1")
        train(load(str(recipe_file), [f"out={runs[-1]}", "training.steps=1", f"coefficients.psi.tau={tau}"]))
    names = column_names([RunHistory.of(run) for run in runs])
    assert list(names.values()) == ["finetune", "diff-tuning", "diff-tuning phase-1", f"diff-tuning {runs[3]}"]
    other = tmp_path / "other"
    train(load(str(recipe_file), [f"out={other}", "training.steps=1", "data.target=openmoji", "data.per_class=1"]))
    with pytest.raises(ConfigError, match=r"differ in data.target .* write a page for each"):
        report([runs[0], other], tmp_path / "page.html")
    with pytest.raises(ConfigError, match="is named twice"):
        report([other, runs[0].parent / ".." / "other"], tmp_path / "page.html")
