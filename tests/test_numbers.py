"""Numbers in the README are those of the committed result files."""

from __future__ import annotations

import json
import math
import re
import runpy
from pathlib import Path
from statistics import fmean

import pytest
import torch

from difftuning.bank.card import BankConfig
from difftuning.reporting.sections import METRICS
from difftuning.reporting.tables import pivot
from difftuning.reporting.text_table import percent
from difftuning.results import read_rows
from difftuning.studies import KINDS
from difftuning.studies.axes import FINETUNE, SEEDS
from difftuning.studies.claims import ahead, ahead_at_best
from difftuning.studies.continual import ADAPTIVE_STREAM, JOINT, STREAMS
from difftuning.workflows.recipes import show
from difftuning.workflows.study_files import page_of
from difftuning.workflows.study_index import write_index

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"
METRICS_OF_MAP = ("heldout", "frechet", "kid")
SHOWN = {"diff-tuning": 24, "retention only": 24, "adaptive": 24}
"""The methods of the table of the targets, in its order, each with its runs."""


def test_the_table_of_the_demo() -> None:
    assert pivot(read_rows(RESULTS / "demo.json"), METRICS).markdown() in README


def test_how_long_the_demo_takes() -> None:
    minutes = json.loads((RESULTS / "demo.json").read_text())["minutes"].values()
    told = f"{math.floor(min(minutes))} to {math.ceil(max(minutes))}"
    assert f"make demo    # {told} minutes on two cores;" in README
    assert f"it takes {told} minutes on two cores" in (ROOT / "docs/quick-start.md").read_text(encoding="utf-8")
    assert f'instead of {told}."' in (ROOT / "src/difftuning/cli/commands.py").read_text(encoding="utf-8")


def test_the_steps_that_drawing_a_bank_is_worth() -> None:
    # In forward passes: a guided solver step is two for each item; a backward pass counts as two, so a training step is three.
    def worth(solver_steps: int, batch: int = 32) -> str:
        return f"{round(10_000 * 2 * solver_steps / (3 * batch), -2):,.0f}"

    default, own = BankConfig(), show("own-images")["recipe"]
    assert default.guidance != 1
    assert own["training"]["batch_size"] == 32
    cost = README.partition("Drawing the bank comes on top")[2].partition(".")[0].replace("\n", " ")
    told = f"{default.steps} guided solver steps 10,000 items are about {worth(default.steps)} steps of batch 32"
    assert f"{told}, at the {own['bank']['steps']} of `own-images` {worth(own['bank']['steps'])}" in cost
    page = (ROOT / "docs/comparison.md").read_text(encoding="utf-8").replace("\n", " ")
    assert f"{default.steps} guided steps are about {worth(default.steps)} training steps of batch 32, and" in page
    assert f"at 50 guided steps {worth(50)}." in page


def test_how_far_the_embedded_times_of_dit_and_of_diffusers_are_apart() -> None:
    def embedded(t: int, last: int) -> torch.Tensor:
        angles = t * 10_000.0 ** (-torch.arange(128, dtype=torch.float64) / last)
        return torch.cat([angles.cos(), angles.sin()])

    apart = [float((embedded(t, 127) - embedded(t, 128)).norm() / embedded(t, 128).norm()) for t in (10, 500, 999)]
    page = (ROOT / "docs/how-to/families.md").read_text(encoding="utf-8").partition("The embedded times differ")[2]
    assert re.findall(r"by (\d+) %", page) == [f"{100 * one:.0f}" for one in apart]


def test_the_page_of_what_it_costs_is_made_from_its_result_files() -> None:
    made = runpy.run_path(str(ROOT / "docs/make_speed.py"))["page"]()
    assert (ROOT / "docs/speed.md").read_text(encoding="utf-8") == made, "run python docs/make_speed.py"


def test_the_page_of_the_gain_is_made_from_its_result_files() -> None:
    made = runpy.run_path(str(ROOT / "docs/make_gain.py"))
    assert (ROOT / "docs/gain.md").read_text(encoding="utf-8") == made["page"](), "run python docs/make_gain.py"
    changes, zero, least = made["changes"], made["ZERO"], made["real"]("dit-photo-16")
    frechet, kid = (made["values"](read_rows(RESULTS / "targets.json"), metric) for metric in ("frechet", "kid"))
    cases = [(kid, "adaptive", zero), (frechet, "adaptive", zero), (frechet, "adaptive", least)]
    cases += [(kid, "diff-tuning", zero), (frechet, "diff-tuning", zero)]
    found = [fmean(changes(values, method, made["NEAR"], floor)) for values, method, floor in cases]
    told = README.partition("On photographs, paintings, cartoons and flowers")[2]
    assert re.findall(r"([\d.]+) %", told)[:5] == [f"{-100 * one:.1f}" for one in found]


def test_what_is_told_of_32_pixels() -> None:
    rows = read_rows(RESULTS / "headline.json")

    def change(metric: str, method: str, *targets: str) -> float:
        found = ahead(metric, method).check([row for row in rows if not targets or row.target in targets])
        assert found is not None
        return float(found.number.partition("%")[0].replace("\N{MINUS SIGN}", "-"))

    found = {method: [change(metric, method) for metric in METRICS_OF_MAP] for method in ("adaptive", "diff-tuning")}
    behind = [change(metric, "adaptive", "twemoji") for metric in METRICS_OF_MAP[1:]]
    told = README.partition("At 32 pixels, with a larger model")[2].partition("\n\n")[0]
    signed = [*(-one for one in found["adaptive"]), *behind, -found["diff-tuning"][0], *found["diff-tuning"][1:]]
    assert re.findall(r"([\d.]+) %", told) == [f"{one:.1f}" for one in signed]


def test_what_tuning_does() -> None:
    rows = read_rows(RESULTS / "settings.json")
    near, far = (
        ahead_at_best("frechet", "adaptive").check([row for row in rows if row.target == target])
        for target in ("pacs-photo", "openmoji")
    )
    error = ahead_at_best("heldout", "adaptive").check(rows)
    assert near is not None
    assert far is not None
    assert error is not None
    below, above, apart = (one.number.partition("%")[0].lstrip("+\N{MINUS SIGN}") for one in (near, far, error))
    assert (
        f"the default is {below} % below standard fine-tuning in Frechet distance on photographs and {above} % above"
        in WORDS
    )
    assert f"held-out errors of the last step are {apart} % apart" in WORDS


def test_how_the_targets_are_split() -> None:
    page = (ROOT / "docs/how-to/studies.md").read_text(encoding="utf-8")
    for target, one in json.loads((RESULTS / "splits.json").read_text())["targets"].items():
        counts = (one[name] for name in ("images", "classes", "trained_on", "held_out", "left_over"))
        assert f"| {target} | {' | '.join(f'{count:,}' for count in counts)} |" in page


def test_the_costs_in_the_readme() -> None:
    steps = json.loads((RESULTS / "speed/step.json").read_text())["families"].values()
    keys = ("diff_tuning_over_standard", "our_loop_over_bare", "teacher_over_standard")
    every = [[one[key]["ratio"] for one in steps] for key in keys]
    found = re.findall(r"\| ([\d.]+) to ([\d.]+) \|", README.partition("## What it costs")[2])
    assert found == [(f"{min(ratios):.2f}", f"{max(ratios):.2f}") for ratios in every]


def test_the_shares_of_copies() -> None:
    found: dict[str, dict[str, list[float]]] = {}
    for row in read_rows(RESULTS / "targets.json"):
        if row.metric == "memorised":
            found.setdefault(row.method, {}).setdefault(row.target, []).append(row.value)
    means = [100 * fmean(map(fmean, found[method].values())) for method in ("finetune", *SHOWN)]
    told = re.findall(r"([\d.]+) %", README.partition("twentieth of unseen real images is")[2])
    assert told[:4] == [f"{mean:.1f}" for mean in means]


@pytest.mark.parametrize("metric", ["heldout", "heldout_best", "frechet", "kid"])
def test_the_table_of_the_targets(metric: str) -> None:
    rows = read_rows(RESULTS / "targets.json")
    found = [ahead(metric, method).check(rows) for method in SHOWN]
    cells = " | ".join(one.number.partition(";")[0].replace(" in the mean", "") for one in found if one)
    assert f"| {cells} |" in README


def test_how_many_runs_are_behind_the_table() -> None:
    rows = read_rows(RESULTS / "targets.json")
    made = {method: len({row.cell for row in rows if row.method == method}) for method in SHOWN}
    assert made == SHOWN


def test_what_retention_costs_and_brings_on_the_map() -> None:
    rows = read_rows(RESULTS / "map.json")
    values = {
        (row.method, row.metric, row.target, row.setting["regime"]): row.value
        for row in rows
        if row.metric in METRICS_OF_MAP
    }

    def changes(method: str, metric: str) -> list[float]:
        return [
            100 * (value / values["finetune", *place] - 1)
            for (name, *place), value in values.items()
            if name == method and place[0] == metric and ("finetune", *place) in values
        ]

    between = (
        "nowhere behind by more than {:.1f} %, {:.1f} % and {:.1f} %, and up to {:.1f} %, {:.1f} % and {:.1f} % ahead"
    )
    acting = [change for change in changes("adaptive", "frechet") if abs(change) > 1e-3]
    turns = f"which it does in {len(acting)} of {len(changes('adaptive', 'frechet'))} places"
    told = README.partition("**When does retention pay?**")[2].partition("##")[0]
    for method, words in (
        (
            "retention only",
            "up to {:.1f} % in the held-out error, {:.1f} % in the Frechet distance and {:.1f} % in KID",
        ),
        (
            "measured retention",
            f"(`measured retention`), is {between} ([how",
        ),
        (
            "adaptive",
            f"(`adaptive`) is standard fine-tuning until an error turns, {turns}, and {between}. 1 less",
        ),
    ):
        both = [changes(method, metric) for metric in METRICS_OF_MAP]
        text = words.format(*(max(0.0, *one) for one in both), *(-min(one) for one in both))
        assert text in " ".join(told.split()), text
    for metric in ("frechet", "kid"):
        places = [
            place for method, *place in values if method == "retention only" and place[:2] == [metric, "pacs-cartoon"]
        ]
        assert len(places) == 7
        assert all(values["retention only", *place] < values["finetune", *place] for place in places)
    long = "10 a class, 2000 steps"
    errors, distances = (
        {
            target: 100 * (values[method, metric, target, long] / values["finetune", metric, target, long] - 1)
            for target in ("pacs-photo", "pacs-cartoon", "openmoji")
        }
        for method, metric in (("retention only", "heldout"), ("retention only", "frechet"))
    )
    assert f"on all three targets, by {-max(errors.values()):.1f} % to {-min(errors.values()):.1f} %" in WORDS
    assert -0.05 < distances["openmoji"] < 0.05
    for method, metrics in (("retention only", ("kid",)), ("diff-tuning", METRICS_OF_MAP)):
        for metric in metrics:
            assert values[method, metric, "openmoji", long] > values["finetune", metric, "openmoji", long]


def means(study: str, *metrics: str) -> dict[tuple[str, ...], float]:
    """The mean over seeds by (target, method, metric, values of the setting)."""
    found: dict[tuple[str, ...], list[float]] = {}
    for row in read_rows(RESULTS / f"{study}.json"):
        if row.metric in metrics:
            found.setdefault((row.target, row.method, row.metric, *map(str, row.setting.values())), []).append(
                row.value
            )
    return {key: fmean(values) for key, values in found.items()}


WORDS = " ".join(README.split())
"""The README without the ends of its lines."""


def test_where_beside_the_whole_target_is_behind() -> None:
    made = runpy.run_path(str(ROOT / "docs/make_gain.py"))
    rows = read_rows(RESULTS / "targets.json")
    far = [
        100 * fmean(made["changes"](made["values"](rows, metric), "retention only", made["FAR"], made["ZERO"]))
        for metric in ("frechet", "kid")
    ]
    assert f"both distances, which rise by {far[0]:.1f} % and {far[1]:.1f} % on icons and clothes" in WORDS
    errors = means("targets", "heldout")
    changes = {
        target: 100 * (value / errors[target, "finetune", "heldout"] - 1)
        for (target, method, _), value in errors.items()
        if method == "retention only"
    }
    behind = {target: change for target, change in changes.items() if change > 0}
    assert behind.keys() == {"fashion-mnist"}
    assert f"on seven of the eight targets (on Fashion-MNIST it is {behind['fashion-mnist']:.1f} % above)" in WORDS


def test_what_it_is_to_stop_early() -> None:
    rows = read_rows(RESULTS / "targets.json")
    value = {(row.target, row.seed, row.method, row.metric): row.value for row in rows}
    places = {(row.target, row.seed) for row in rows}
    above = [value[*at, "adaptive", "heldout"] / value[*at, "finetune", "heldout_best"] - 1 for at in places]
    assert f"which is {100 * fmean(above):.1f} % above it in the mean" in WORDS
    # Both trainings are the same up to there, and only one looked at the distance on the way.
    curve = {
        (row.target, row.step): round(row.value)
        for row in read_rows(RESULTS / "convergence.json")
        if (row.method, row.metric, row.seed) == ("finetune", "frechet_curve", SEEDS[0])
    }
    near, far = curve["pacs-photo", 500], curve["openmoji", 1000]
    assert (
        f"distance is {near} on photographs after 500 steps, where that is, and {far} on OpenMoji after 1,000" in WORDS
    )
    late = [round(value[target, SEEDS[0], "adaptive", "frechet"]) for target in ("pacs-photo", "openmoji")]
    assert f"that of the default after 2,000 is {late[0]} and {late[1]} (one seed)" in WORDS
    lowest = {
        (row.target, row.seed): row.step for row in rows if (row.method, row.metric) == ("finetune", "heldout_best")
    }
    assert {lowest["pacs-photo", seed] for seed in SEEDS} == {500}
    assert {lowest["openmoji", seed] for seed in SEEDS} == {750, 1000}


def test_what_many_images_do() -> None:
    rows = read_rows(RESULTS / "images.json")
    found = means("images", "heldout", "frechet")
    many = [key for key in found if key[1] == "adaptive" and key[3] in ("50 a class", "all")]
    assert len(many) == 2 * 8 * 2
    worst = [
        100 * max(found[key] / found[key[0], "finetune", *key[2:]] - 1 for key in many if key[2] == metric)
        for metric in ("heldout", "frechet")
    ]
    assert f"behind by more than {worst[0]:.1f} % in the error and {worst[1]:.1f} % in Frechet distance" in WORDS
    paper = [ahead(metric, only="all").check(rows) for metric in ("heldout", "frechet")]
    told = [one.number.partition("%")[0].removeprefix("+") for one in paper if one]
    assert f"the paper's tau = 1 is {told[0]} % and {told[1]} % behind in the mean" in WORDS


def test_what_the_length_of_a_probe_does() -> None:
    probe = read_rows(RESULTS / "probe.json")
    first = [row for row in read_rows(RESULTS / "targets.json") if row.seed == SEEDS[0]]
    told = []
    for rows, method in (
        (probe, "measured retention, short probe"),
        (probe, "measured retention"),
        (first, "adaptive"),
    ):
        checked = [ahead(metric, method).check(rows) for metric in ("heldout", "frechet")]
        told += [one.number.partition("%")[0].removeprefix("\N{MINUS SIGN}") for one in checked if one]
    page = (ROOT / "docs/how-to/coefficients.md").read_text(encoding="utf-8")
    assert re.findall(r"([\d.]+) %", page.partition("A probe sees no turn")[2].partition("##")[0]) == told


def test_on_images_that_decided_nothing() -> None:
    found = means("unseen", "heldout", "frechet")
    changes = [
        value / found[target, "finetune", metric] - 1
        for (target, method, metric), value in found.items()
        if method == "adaptive"
    ]
    assert len(changes) == 16
    assert max(changes) < 1e-5
    assert "behind on none of the eight targets in error or distance either" in WORDS


def test_what_guidance_brings() -> None:
    best = ahead_at_best("frechet", "retention only").check(read_rows(RESULTS / "guidance.json"))
    assert best is not None
    by = WORDS.partition("retention beside the whole target is then ")[2].partition(" %")[0]
    assert best.number.startswith(f"\N{MINUS SIGN}{by}%")
    found = means("guidance", "frechet")
    lowest = min((key for key in found if key[0] == "openmoji"), key=lambda key: found[key])
    assert lowest[1] == "finetune + domain guidance"


def test_how_the_default_stands_to_other_ways_to_stay_near() -> None:
    found = means("regularisers", "heldout", "frechet")
    for target in ("pacs-photo", "openmoji"):
        for kind in ("L2-SP", "EWC"):
            best = {
                metric: min(
                    value for key, value in found.items() if (key[0], key[2]) == (target, metric) and kind in key[1]
                )
                for metric in ("heldout", "frechet")
            }
            assert best["heldout"] < found[target, "adaptive", "heldout"]
            assert best["frechet"] > found[target, "adaptive", "frechet"]
    prior, own = (
        [found["pacs-photo", method, metric] for metric in ("frechet", "heldout")]
        for method in ("prior preservation", "adaptive")
    )
    distance, error = (100 * (one / other - 1) for one, other in zip(prior, own, strict=True))
    assert (
        f"{distance:.1f} % behind it in Frechet distance on photographs and {-error:.1f} % ahead in the error" in WORDS
    )


def test_what_twice_as_many_steps_do() -> None:
    found = means("convergence", "frechet", "kid", "frechet_best")
    lowest_by = 100 * (
        1 - found["pacs-photo", "adaptive", "frechet_best"] / found["pacs-photo", "finetune", "frechet_best"]
    )
    assert f"the lowest Frechet distance of the default is {lowest_by:.1f} % below the lowest of that" in WORDS
    ahead_by, behind_by = (
        100 * (found["openmoji", "adaptive", metric] / found["openmoji", "finetune", metric] - 1)
        for metric in ("frechet", "kid")
    )
    assert f"the default is {-ahead_by:.1f} % ahead in Frechet distance and {behind_by:.1f} % behind in KID" in WORDS
    rows = [row for row in read_rows(RESULTS / "convergence.json") if row.method == "finetune"]
    for target, lowest in (("pacs-photo", 1500), ("openmoji", 4000)):
        for metric in ("frechet_curve", "kid_curve"):
            curve = [row for row in rows if (row.target, row.metric) == (target, metric)]
            assert min(curve, key=lambda row: row.value).step == lowest


def test_what_is_told_of_streams_and_of_control() -> None:
    found = means("continual", "frechet", "forgetting", "memorised")
    before, after = (
        {
            metric: [found[stream, method, metric] for stream in STREAMS]
            for metric in ("frechet", "forgetting", "memorised")
        }
        for method in (FINETUNE, ADAPTIVE_STREAM)
    )
    less = [100 * (1 - new / old) for new, old in zip(after["frechet"], before["frechet"], strict=True)]
    assert f"on four streams of four (by {min(less):.1f} to {max(less):.1f} %)" in WORDS
    assert all(new <= old / 4 for new, old in zip(after["forgetting"], before["forgetting"], strict=True))
    assert sum(new > old for new, old in zip(after["memorised"], before["memorised"], strict=True)) == 3
    checked = {claim.text: claim.check(read_rows(RESULTS / "control.json")) for claim in KINDS["control"].claims}
    error = checked[
        "diff-tuning is ahead of finetune in: held-out error, target, without depth of rooms and normals of rooms"
    ]
    steps = checked["diff-tuning is ahead of finetune in: steps until the map is obeyed"]
    assert error is not None
    assert steps is not None
    told = [one.number.partition("%")[0].removeprefix("+") for one in (error, steps)]
    assert (
        f"cost {told[0]} % in the error with five kinds of maps, and obeying the map began {told[1]} % later" in WORDS
    )


def test_what_the_last_tenth_given_back_does() -> None:
    kid = {
        (row.target, row.setting["share"]): row.value
        for row in read_rows(RESULTS / "forgetting.json")
        if row.metric == "swap_kid" and row.method == "finetune"
    }
    change = {target: 100 * (kid[target, 0.1] / kid[target, 0] - 1) for target in ("pacs-photo", "openmoji")}
    told = README.partition("the KID of standard fine-tuning ")[2].replace("\n", " ")
    words = (
        f"falls by {-change['pacs-photo']:.1f} % on photographs, and rises by {change['openmoji']:.1f} % on OpenMoji,"
    )
    assert told.startswith(words)


def test_the_table_of_what_tuners_cost() -> None:
    page = (ROOT / "docs/how-to/tuners.md").read_text(encoding="utf-8")
    for name, cost in json.loads((RESULTS / "tuner_cost.json").read_text())["tuners"].items():
        memory = f"{cost['peak_gib']:.1f} | {cost['peak_with_teacher_gib']:.1f}"
        assert f"| {name} | {cost['parameters'] / 1e6:.2f} | {cost['step_over_full']:.2f} | {memory} |" in page


@pytest.mark.parametrize("name", [name for name in KINDS if (RESULTS / f"{name}.json").is_file()])
def test_the_page_of_a_study_is_made_from_its_rows(name: str) -> None:
    finished = json.loads((RESULTS / f"{name}.json").read_text())["finished"]
    page = page_of(KINDS[name], read_rows(RESULTS / f"{name}.json"), finished)
    folder = ROOT / "docs/results"
    figure = (folder / f"{name}.svg").is_file()
    assert (folder / f"{name}.md").read_text(encoding="utf-8") == page.markdown(figure, folder)


def test_the_page_of_all_claims_is_made_from_the_rows(tmp_path: Path) -> None:
    made = write_index(RESULTS, tmp_path).read_text(encoding="utf-8")
    assert (ROOT / "docs/results/index.md").read_text(encoding="utf-8") == made


def test_the_table_of_streams() -> None:
    rows = [row for row in read_rows(RESULTS / "continual.json") if not row.setting]
    value = {(row.target, row.metric, row.method, row.seed): row.value for row in rows}

    def change(stream: str, metric: str, method: str, base: str, seeds: tuple[int, ...]) -> str:
        before, after = ([value[stream, metric, one, seed] for seed in seeds] for one in (base, method))
        return percent(fmean(after) / fmean(before) - 1)

    def mean(stream: str, metric: str, method: str) -> str:
        return f"{fmean(value[stream, metric, method, seed] for seed in SEEDS):.2f}"

    page = (ROOT / "docs/how-to/continual.md").read_text(encoding="utf-8")
    for stream in STREAMS:
        told = [change(stream, metric, ADAPTIVE_STREAM, FINETUNE, SEEDS) for metric in ("frechet", "kid", "heldout")]
        told.append(" to ".join(mean(stream, "forgetting", method) for method in (FINETUNE, ADAPTIVE_STREAM)))
        told += [change(stream, metric, ADAPTIVE_STREAM, JOINT, SEEDS[:1]) for metric in ("frechet", "heldout")]
        line = f"| `{stream}` | {' | '.join(told)} |"
        assert line in page, line
