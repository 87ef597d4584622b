"""One self-contained HTML page: no network, no script, all pictures inside; light and dark, wide and narrow."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import jinja2

from difftuning.reporting.tables import Table


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what it shows.

    Attributes:
        data: the bytes of an SVG or a PNG.
        title: a short heading.
        caption: how to read it.
        crisp: pixels are shown as squares.
    """

    data: bytes
    title: str
    caption: str = ""
    crisp: bool = False

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        kind = "image/png" if self.data.startswith(b"\x89PNG") else "image/svg+xml"
        return f"data:{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        text: paragraphs.
        table: a table, where there is one.
        pictures: shown side by side where they fit.
        listing: preformatted text, folded away under the title `listing_title`.
    """

    title: str
    text: Sequence[str] = ()
    table: Table | None = None
    pictures: Sequence[Picture] = ()
    listing: str = ""
    listing_title: str = "show"


@dataclass(frozen=True, slots=True)
class Report:
    """What a page says.

    Attributes:
        title: of the page.
        verdict: one sentence, computed from measured rows.
        facts: short pairs of a name and a value, at the top.
        sections: in reading order.
    """

    title: str
    verdict: str
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = field(default_factory=tuple)


def render(report: Report) -> str:
    """The page; every text is escaped."""
    template = files("difftuning.reporting").joinpath("template.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(report=report)
