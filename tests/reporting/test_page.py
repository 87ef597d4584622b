"""The page is self-contained, escaped, complete, and leaves out what has no data."""

from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from difftuning.reporting import figures
from difftuning.reporting.page import Picture, Report, ReportData, Section, render
from difftuning.reporting.tables import pivot
from difftuning.results import Row

HOSTILE = "<script>alert(1)</script>\"'"
MEASURED = {
    "finetune": {"heldout": 0.131, "frechet": 212.0, "kid": 0.081, "precision": 0.41, "recall": 0.35, "drift": 14.0},
    "diff-tuning": {"heldout": 0.127, "frechet": 219.0, "kid": 0.078, "precision": 0.42, "recall": 0.38, "drift": 9.0},
}
ROWS = [
    Row(
        study="demo",
        target="openmoji",
        method=method,
        seed=seed,
        step=1200,
        metric=metric,
        value=value * (1 + 0.001 * seed),
        network="efficientnet-lite0@128" if metric in ("frechet", "kid") else None,
        n=360,
    )
    for method, metrics in MEASURED.items()
    for metric, value in metrics.items()
    for seed in range(3)
]


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def full(name: str = "diff-tuning", text: str = "words") -> ReportData:
    """Everything a comparison can hold."""
    grid = figures.image_grid(images(6), 3)
    return ReportData(
        title=text,
        rows=ROWS,
        facts=[(text, text)],
        done=[text],
        recipes={name: text},
        grids={text: grid, name: grid},
        series={f"{name} seed {seed}": [(0, 1.0), (10, 0.5)] for seed in range(3)},
        coefficients=([0, 0.5, 1], [0, 0.5, 1], [1, 0.5, 0]),
        by_u_target={"pretrained": [1.0] * 10, name: [0.9] * 10},
        by_u_bank={"pretrained": [1.0] * 10, name: [1.1] * 10},
        swap={name: [(0, 3.0), (0.5, 2.0), (1, 4.0)]},
        swap_distance=f"Frechet distance ({text})",
        strips={name: figures.image_strip(images(6).reshape(2, 3, 3, 8, 8), [0, 0.5, 1])},
        bank_picture=grid,
        bank_card=[(text, text)],
        nearest={name: grid},
        seconds={text: {"finetune": 40.0, "diff-tuning": 42.0}},
        set_aside=[(text, text)],
        commands=[text],
        notes=[text],
    )


class Seen(HTMLParser):
    """Collects the tags of a page, what it refers to, and its headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.attributes: set[str] = set()
        self.headings: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["h2"] and data.strip():
            self.headings.append(data.strip())


def laid_out(text: str) -> Report:
    """A page put together by hand."""
    pictures = [Picture(figures.image_grid(images(3), 2), text, text, crisp=True, wide=True)]
    table = pivot(ROWS, ("heldout",))
    return Report(
        text, text, [(text, text)], [Section(text, [text], table, pictures, text, text, facts=[(text, text)])]
    )


@pytest.mark.parametrize("page", [full(HOSTILE, HOSTILE), laid_out(HOSTILE)], ids=["data", "by hand"])
def test_nothing_outside_is_referred_to_and_names_are_escaped(page: ReportData | Report) -> None:
    html = render(page)
    seen = Seen(html)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(seen.tags)
    assert seen.tags.count("img") == len(seen.references) > 0
    assert all(reference.startswith("data:image/") for reference in seen.references)
    assert not any(name.startswith("on") for name in seen.attributes)
    assert "@import" not in html
    assert "url(" not in html
    for reference in seen.references:
        assert base64.b64decode(reference.partition(",")[2], validate=True)


def test_every_section_is_there_in_reading_order() -> None:
    assert Seen(render(full())).headings == [
        "What was done",
        "What was measured",
        "Samples from the same seeds",
        "While training",
        "What was learned and forgotten, by noise level",
        "The chain of forgetting",
        "The knowledge bank",
        "Nearest training images",
        "What it cost",
        "Set aside",
        "To repeat it",
        "Notes",
    ]


def test_sections_without_data_are_left_out() -> None:
    assert Seen(render(ReportData("empty", []))).headings == []
    assert Seen(render(ReportData("rows", ROWS))).headings == ["What was measured", "Notes"]
    # A curve without the pretrained one cannot be drawn against it.
    lonely = replace(
        ReportData("u", []), by_u_target={"finetune": [1.0]}, series={"finetune": []}, swap={"finetune": []}
    )
    assert Seen(render(lonely)).headings == []


def test_the_distance_is_not_called_fid() -> None:
    html = render(ReportData("demo", ROWS))
    assert "Frechet distance ↓ (efficientnet-lite0@128)" in html
    assert "they are not FID" in html
    assert "360 samples is biased" in html
    assert "worse in Frechet distance (219.2 against 212.2)" in html
