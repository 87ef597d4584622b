"""Figures show their numbers, are the same each time, and refer to nothing outside."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from PIL import Image

from difftuning.reporting import figures, images, study_figures
from difftuning.reporting.chart import Chart
from difftuning.reporting.svg import look

DRAWN: list[Callable[[], bytes]] = [
    lambda: figures.training_curves({"finetune": [(0, 1.0), (1, 0.5)], "diff-tuning": [(0, 1.0), (1, 0.4)]}),
    lambda: figures.training_curves({f"finetune seed {seed}": [(0, 1.0), (1, 0.5 + seed)] for seed in range(3)}),
    lambda: figures.error_by_u({"finetune": [1.0, 2.0]}, [1.0, 1.0], "error"),
    lambda: figures.heldout_by_u({"pretrained": [1.0, 1.0], "diff-tuning": [1.0, 0.9]}),
    lambda: figures.swap_curves({"finetune": [(0.0, 3.0), (1.0, 4.0)]}, "Frechet distance (net)"),
    lambda: study_figures.changes({"measured": {"near": [-1.0, -3.0], "far": [2.0]}}, "finetune", "error"),
    lambda: study_figures.changes({"measured": {"/".join(["a folder far down"] * 9): [1.0]}}, "finetune", "error"),
    lambda: study_figures.over_setting(
        {
            ("Frechet distance (network, 500 samples)", name): {
                f"{method} with a long name": [(1.0, 2.0), (2.0, 1.0)] for method in "abcdef"
            }
            for name in ("near", "far")
        },
        "scale",
    ),
    lambda: figures.coefficients({"diff-tuning": ([0, 1], [0, 1], [1, 0])}),
    lambda: figures.layer_drift(
        {"finetune": {"blocks.0": 1.0, "pos": 2.0}, "diff-tuning": {"blocks.0": 0.5, "pos": 1.0}}
    ),
]


@pytest.mark.parametrize("draw", DRAWN)
def test_curves_are_drawn_and_reproducible(draw: Callable[[], bytes]) -> None:
    svg = draw()
    assert svg == draw()
    assert svg.startswith(b"<?xml")
    assert svg.count(b"<path") > 5
    assert b"prefers-color-scheme:dark" in svg
    assert b"DOCTYPE" not in svg
    references = re.findall(rb"(?:href|src)=\"([^\"]*)\"|url\(([^)]*)\)", svg)
    assert all((one or other).startswith(b"#") for one, other in references)


def test_the_reference_of_the_forgetting_curve_is_the_pretrained_model() -> None:
    curves = {"pretrained": [2.0, 4.0], "finetune": [1.0, 5.0]}
    assert figures.heldout_by_u(curves, "error") == figures.error_by_u({"finetune": [1.0, 5.0]}, [2.0, 4.0], "error")


def test_seeds_of_unequal_length_share_their_steps() -> None:
    svg = figures.training_curves(
        {"a seed 0": [(0, 1.0), (5, 0.5), (9, 0.1)], "a seed 1": [(0, 1.0), (5, 0.7)], "b": []}
    )
    assert svg.count(b"<path") > 5


def test_a_method_looks_the_same_in_every_figure_and_unlike_all_others() -> None:
    names = ["finetune", *(f"run {number}" for number in range(19)), "diff-tuning"]
    looks = [tuple(look(name, names).values()) for name in names]
    assert len({*looks}) == len(names)
    whole = figures.training_curves({name: [(0, 1.0), (1, 0.5)] for name in names[:3]}, columns=names).decode()
    alone = figures.swap_curves({names[2]: [(0.0, 3.0), (1.0, 4.0)]}, "distance", names).decode()
    colour = looks[2][0]
    assert colour in whole
    assert colour in alone


def test_a_name_may_have_seed_in_it() -> None:
    one, other = {"high seed 1 seed 0": [(0, 1.0), (1, 0.5)]}, {"high seed 2 seed 0": [(0, 1.0), (1, 0.5)]}
    chart = Chart.of(figures.training_curves(one | other))
    assert chart is not None
    assert set(chart.series) == {"high seed 1", "high seed 2"}


def test_a_name_is_no_formula() -> None:
    assert figures.training_curves({r"$\frac{$ <b>": [(0, 1.0), (1, 0.5)]}).startswith(b"<?xml")


def test_a_grid_keeps_every_pixel() -> None:
    pictures = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sheet = Image.open(io.BytesIO(images.image_grid(pictures, columns=3, scale=2, gap=1)))
    assert sheet.size == (2 * (3 * 5 - 1), 2 * (2 * 5 - 1))
    for index, image in enumerate(pictures):
        x, y = index % 3 * 10, index // 3 * 10
        part = sheet.convert("RGB").crop((x, y, x + 8, y + 8)).resize((4, 4), Image.Resampling.NEAREST)
        assert list(part.get_flattened_data()) == [
            tuple(pixel) for pixel in image.permute(1, 2, 0).reshape(-1, 3).tolist()
        ]


def test_a_strip_is_its_grid_under_a_head_of_shares() -> None:
    pictures = torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    strip = Image.open(io.BytesIO(images.image_strip(pictures, [0, 0.5, 1])))
    grid = Image.open(io.BytesIO(images.image_grid(pictures.flatten(0, 1), 3)))
    head = strip.height - grid.height
    assert head > 0
    assert strip.crop((0, head, strip.width, strip.height)).tobytes() == grid.tobytes()
    labels = strip.crop((0, 0, strip.width, head)).getchannel("A")
    places = [labels.crop((column * 68, 0, column * 68 + 64, head)).getextrema()[1] for column in range(3)]
    assert min(places) > 0


def test_a_strip_needs_a_share_a_column() -> None:
    with pytest.raises(ValueError, match="3 columns"):
        images.image_strip(torch.zeros(2, 3, 3, 4, 4, dtype=torch.uint8), [0.0, 1.0])


@pytest.mark.parametrize(("edge", "shown"), [(16, 128), (48, 96), (128, 128), (512, 128)])
def test_images_of_any_size_are_shown_at_about_one(edge: int, shown: int) -> None:
    pictures = torch.full((2, 3, edge, edge), 200, dtype=torch.uint8)
    made = images.at_size(pictures)
    assert made.shape == (2, 3, shown, shown)
    assert made.dtype == torch.uint8
    assert bool((made == 200).all())


def test_values_far_apart_stand_apart_and_none_has_a_place() -> None:
    """Fig. 6d of the paper: banks of no, 50 and 5,000 items."""
    curve = [(0.0, 3.0), (50.0, 2.0), (250.0, 1.5), (5000.0, 1.0)]
    panels = {(measure, "near"): {"diff-tuning": curve} for measure in ("error", "distance")}
    svg = study_figures.over_setting(panels, "bank").decode()
    places = [float(x) for x in re.findall(r'<g id="xtick_\d+">.*?<use [^>]*x="([\d.]+)"', svg, re.DOTALL)][
        : len(curve)
    ]
    gaps = [after - before for before, after in pairwise(places)]
    assert len(places) == 4
    assert min(gaps) > max(gaps) / 4, "a linear axis has them a hundred times apart"
    assert all(f"<!-- {label} -->" in svg for label in ("error", "distance", "bank", "5000"))
