"""The page and its parts: self-contained, escaped, and with the arithmetic of its rows."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from difftuning.reporting import figures
from difftuning.reporting.page import Picture, Report, Section, render
from difftuning.reporting.tables import gain, pivot, verdict
from difftuning.results import Row


def row(method: str, metric: str, value: float, seed: int = 0) -> Row:
    return Row(study="s", target="t", method=method, seed=seed, step=10, metric=metric, value=value, network=None)


ROWS = [
    row("pretrained", "heldout", 0.5),
    *(row("finetune", "heldout", value, seed) for seed, value in enumerate((0.4, 0.5, 0.6))),
    *(row("diff-tuning", "heldout", value, seed) for seed, value in enumerate((0.3, 0.4, 0.5))),
    row("finetune", "frechet", 10.0),
    row("diff-tuning", "frechet", 12.0),
    row("finetune", "precision", 0.5),
    row("diff-tuning", "precision", 0.5),
]


class Links(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def test_mean_spread_and_the_better_value() -> None:
    table = pivot(ROWS, ("heldout", "frechet", "precision", "kid"))
    assert table.methods == ("pretrained", "finetune", "diff-tuning")
    heldout, distance, precision = table.lines
    cells = [cell for cell in heldout.cells if cell is not None]
    assert [cell.mean for cell in cells] == pytest.approx([0.5, 0.5, 0.4])
    assert [cell.spread for cell in cells][1:] == pytest.approx([0.1, 0.1])
    assert [cell.best for cell in cells] == [False, False, True]
    assert distance.cells[0] is None
    assert [cell.best for cell in distance.cells if cell is not None] == [True, False]
    assert not any(cell.best for cell in precision.cells if cell is not None)


def test_gain_is_a_share_of_the_baseline() -> None:
    assert gain(ROWS, "heldout", "diff-tuning", "finetune") == pytest.approx(0.2)
    assert gain(ROWS, "frechet", "diff-tuning", "finetune") == pytest.approx(-0.2)
    assert gain(ROWS, "kid", "diff-tuning", "finetune") is None


def test_the_verdict_says_what_is_worse_too() -> None:
    said = verdict(ROWS)
    assert "better in held-out error, target (0.4 against 0.5)" in said
    assert "worse in Frechet distance (12 against 10)" in said
    assert "precision" not in said


def test_the_page_refers_to_nothing_outside_and_escapes_names() -> None:
    hostile = "<script>alert(1)</script>"
    page = render(
        Report(
            hostile,
            hostile,
            [("a", hostile)],
            [
                Section(hostile, [hostile], pivot(ROWS, ("heldout",)), listing=hostile),
                Section(
                    "pictures",
                    pictures=[
                        Picture(
                            figures.image_grid(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), 2), hostile, hostile, True
                        ),
                        Picture(figures.training_curves({"finetune": [(0, 1.0), (1, 0.5)]}), "curve"),
                    ],
                ),
            ],
        )
    )
    links = Links()
    links.feed(page)
    assert "script" not in links.tags
    assert len(links.sources) == 2
    assert all(source.startswith("data:image/") for source in links.sources)
    assert "@import" not in page
    assert "url(" not in page


def test_a_grid_keeps_every_pixel() -> None:
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sheet = Image.open(io.BytesIO(figures.image_grid(images, columns=3, scale=2, gap=1)))
    assert sheet.size == (2 * (3 * 5 - 1), 2 * (2 * 5 - 1))
    for index, image in enumerate(images):
        x, y = index % 3 * 10, index // 3 * 10
        part = sheet.convert("RGB").crop((x, y, x + 8, y + 8)).resize((4, 4), Image.Resampling.NEAREST)
        assert list(part.get_flattened_data()) == [
            tuple(pixel) for pixel in image.permute(1, 2, 0).reshape(-1, 3).tolist()
        ]


@pytest.mark.parametrize(
    "svg",
    [
        figures.training_curves({"finetune": [(0, 1.0), (1, 0.5)], "diff-tuning": [(0, 1.0), (1, 0.4)]}),
        figures.error_by_u({"finetune": [1.0, 2.0]}, [1.0, 1.0], "error"),
        figures.swap_curves({"finetune": [(0.0, 3.0), (1.0, 4.0)]}, "Frechet distance"),
        figures.coefficients([0, 1], [0, 1], [1, 0]),
    ],
)
def test_curves_are_drawn_and_reproducible(svg: bytes) -> None:
    assert svg.startswith(b"<?xml")
    assert svg.count(b"<path") > 5
