"""The page is self-contained, escaped, complete, and leaves out what has no data."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from difftuning.reporting import figures, images
from difftuning.reporting.page import Picture, Report, ReportData, Section, Slides, render
from difftuning.reporting.tables import pivot
from difftuning.reporting.text_table import TextTable
from report_data import ROWS, full, pictures

HOSTILE = "<script>alert(1)</script>\"'"


class Seen(HTMLParser):
    """Collects the tags of a page, what it refers to, and its headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.attributes: set[str] = set()
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.attributes |= {name for name, _ in attrs}
        self.references += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data", "action")
        ]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["h2"] and data.strip():
            self.headings.append(data.strip())


def laid_out(text: str) -> Report:
    """A page put together by hand."""
    shown = [Picture(images.image_grid(pictures(3), 2), text, text, crisp=True, wide=True)]
    table = pivot(ROWS, ("heldout",))
    return Report(
        text,
        text,
        [(text, text)],
        [
            Section(
                text, [text], table, shown, Slides(text, text, [(text, shown)], text), text, text, facts=[(text, text)]
            )
        ],
    )


@pytest.mark.parametrize("page", [full(HOSTILE, HOSTILE), laid_out(HOSTILE)], ids=["data", "by hand"])
def test_nothing_outside_is_referred_to_and_names_are_escaped(page: ReportData | Report) -> None:
    html = render(page)
    seen = Seen(html)
    assert not {"link", "iframe", "object", "embed", "base"} & set(seen.tags)
    assert seen.tags.count("script") == 1, "its own, and none from a name"
    within = [reference for reference in seen.references if reference.startswith("#")]
    assert {reference[1:] for reference in within} <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids)), "two parts of the page have one id"
    pictures = [reference for reference in seen.references if reference not in within]
    assert seen.tags.count("img") == len(pictures) > 0
    assert all(reference.startswith("data:image/") for reference in pictures)
    assert not any(name.startswith("on") for name in seen.attributes)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html.replace("url(#${id})", ""))
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    for reference in pictures:
        assert base64.b64decode(reference.partition(",")[2], validate=True)


def test_every_section_is_there_in_reading_order() -> None:
    assert Seen(render(full())).headings == [
        "What was done",
        "What differs between the runs",
        "What was measured",
        "Samples from the same seeds",
        "While training",
        "What was learned and forgotten, by noise level",
        "The chain of forgetting",
        "The knowledge bank",
        "Nearest training images",
        "Where the weights moved",
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


def test_a_curve_is_told_as_a_table_too() -> None:
    chart = Picture(figures.training_curves({"a": [(0, 1.0), (5, 0.25)], "b": [(5, 0.5)]}), "").chart
    assert chart is not None
    assert chart.table() == TextTable(("training steps", "a", "b"), (("0", "1", ""), ("5", "0.25", "0.5")))
    layers = Picture(figures.layer_drift({"a": {"in": 1.0, "out": 2.0}, "b": {"out": 4.0}}), "").chart
    assert layers is not None
    assert layers.table() == TextTable(("layer", "a", "b"), (("in", "1", ""), ("out", "2", "4")))
    assert Picture(images.image_grid(pictures(1), 1), "").chart is None


def test_a_long_curve_is_told_in_short() -> None:
    chart = Picture(figures.training_curves({"a": [(step, 1.0) for step in range(1000)]}), "").chart
    assert chart is not None
    lines = chart.table().lines
    assert len(lines) == 25
    assert lines[0][0] == "0"
