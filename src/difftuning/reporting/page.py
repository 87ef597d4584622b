"""One self-contained HTML page: no network, all pictures inside; light and dark, wide and narrow.

All that is told stands in the page without a script. The script lets one point at curves, zoom, and move a slider over pictures.
"""

from __future__ import annotations

from importlib.resources import files

import jinja2
from markupsafe import Markup

from difftuning.reporting.model import Picture, Report, ReportData, Section, Slides
from difftuning.reporting.sections import compose

__all__ = ["Picture", "Report", "ReportData", "Section", "Slides", "render"]


def render(report: Report | ReportData) -> str:
    """The page; every text is escaped.

    Args:
        report: a page that is already laid out, or the data of a comparison, which is laid out by `compose`.
    """
    page = compose(report) if isinstance(report, ReportData) else report
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_part("page.html.j2"))
    return template.render(report=page, css=Markup(_part("page.css")), script=Markup(_part("page.js")))


def _part(name: str) -> str:
    return files("difftuning.reporting").joinpath(name).read_text(encoding="utf-8").rstrip()
