"""Links within the documentation lead to a file of it, which the site has too; those of other pages to a file that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from doc_blocks import PAGES, ROOT

DOCS = ROOT / "docs"
OTHERS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "recipes").rglob("*.md"))]


def links(page: Path) -> Iterator[str]:
    """Where its relative links and pictures point to, without anchors; code has none."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    for target in re.findall(r"\]\(<?([^)\s>]+)", text) + re.findall(r"(?:src|href)=\"([^\"]+)", text):
        path = target.partition("#")[0]
        if path and not re.match(r"[a-z][a-z+.-]*:", path):
            yield path


@pytest.mark.parametrize("page", [page for page in PAGES if DOCS in page.parents], ids=str)
def test_every_link_of_the_documentation_stays_in_it(page: Path) -> None:
    for path in links(page):
        found = (page.parent / path).resolve()
        assert found.is_file(), f"{page.relative_to(ROOT)} links to {path}, which is not there"
        assert DOCS in found.parents, f"{page.relative_to(ROOT)} links to {path} outside docs/; write it as code"


@pytest.mark.parametrize("page", OTHERS, ids=str)
def test_every_other_link_names_what_is_there(page: Path) -> None:
    for path in links(page):
        assert (page.parent / path).exists(), f"{page.relative_to(ROOT)} links to {path}, which is not there"
