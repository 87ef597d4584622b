"""One self-contained HTML page: no network, no script, all pictures inside; light and dark, wide and narrow."""

from __future__ import annotations

from importlib.resources import files

import jinja2

from difftuning.reporting.model import Picture, Report, ReportData, Section
from difftuning.reporting.sections import compose

__all__ = ["Picture", "Report", "ReportData", "Section", "render"]


def render(report: Report | ReportData) -> str:
    """The page; every text is escaped.

    Args:
        report: a page that is already laid out, or the data of a comparison, which is laid out by `compose`.
    """
    page = compose(report) if isinstance(report, ReportData) else report
    template = files("difftuning.reporting").joinpath("template.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(report=page)
