"""A drawn figure with its numbers: put into the page itself, where one can point at it, and told again as a table."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from html import unescape

from markupsafe import Markup, escape

from difftuning.reporting.text_table import TextTable

MOST_ROWS = 25
"""Of a table of numbers; a longer curve is told at so many of its places."""


@dataclass(frozen=True, slots=True)
class Chart:
    """What an SVG of `reporting.svg` shows.

    Attributes:
        svg: the drawing.
        x: the label of its x axis.
        y: the label of its y axis.
        rows: what the whole numbers of y stand for; empty where y is a number.
        series: name -> its points.
    """

    svg: str
    x: str
    y: str
    rows: tuple[str, ...]
    series: dict[str, list[tuple[float, float]]]

    @classmethod
    def of(cls, data: bytes) -> Chart | None:
        """The chart in the bytes of an SVG; None for a picture that carries no numbers."""
        found = re.search(rb"<metadata>(.*?)</metadata>", data, re.DOTALL) if data.startswith(b"<?xml") else None
        if found is None:
            return None
        told = json.loads(unescape(found.group(1).decode()))
        series = {one["name"]: [(x, y) for x, y in one["points"]] for one in told["series"]}
        return cls(data.decode(), told["x"], told["y"], tuple(told["rows"]), series)

    def table(self) -> TextTable:
        """The numbers, a line a place and a column a series."""
        cells: dict[float, dict[str, float]] = defaultdict(dict)
        for name, points in self.series.items():
            for x, y in points:
                place, value = (y, x) if self.rows else (x, y)
                cells[place][name] = value
        places = sorted(cells)
        kept = places[:: -(-len(places) // MOST_ROWS) or 1]
        lines = tuple(
            (
                self.rows[int(place)] if self.rows else f"{place:g}",
                *(f"{cells[place][name]:.4g}" if name in cells[place] else "" for name in self.series),
            )
            for place in kept
        )
        return TextTable(("layer" if self.rows else " ".join(self.x.split()), *self.series), lines)

    def inline(self, prefix: str, title: str) -> Markup:
        """The drawing as a part of an HTML page.

        Args:
            prefix: goes before its ids, of which no two on a page may be alike.
            title: what it shows, for those who do not see it.
        """
        svg = re.sub(r"<\?xml.*?\?>\s*|<!--.*?-->\s*|<style.*?</style>", "", self.svg, flags=re.DOTALL)
        svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)
        # The page decides how wide it is.
        head, rest = svg.split(">", 1)
        head = re.sub(r' (?:width|height|version|xmlns\S*)="[^"]*"', "", head)
        return Markup(f'{head} role="img" aria-label="{escape(title)}">{rest}')
