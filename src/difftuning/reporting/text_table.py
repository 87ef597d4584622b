"""A table of texts, written as Markdown or as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escaped

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class TextTable:
    """Plain cells with a head.

    Attributes:
        head: one text a column.
        lines: as many texts each; the first one names the line.
        marked: the (row, column) of cells that are set off.
        prose: the cells are words, not numbers, and stand to the left.
    """

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    marked: frozenset[tuple[int, int]] = frozenset()
    prose: bool = False

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""

        def cells(line: Sequence[str]) -> str:
            # A backslash first, so that none of the texts can undo the escape of a bar.
            safe = (
                escaped(text, quote=False).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for text in line
            )
            return f"| {' | '.join(safe)} |"

        side = " --- " if self.prose else " ---: "
        rule = "|".join(["", " --- ", *(side for _ in self.head[1:]), ""])
        return "\n".join([cells(self.head), rule, *(cells(line) for line in self.lines)]) + "\n"

    def html(self) -> Markup:
        """The table as HTML, every text escaped."""
        head = Markup("").join(Markup('<th scope="col">{}</th>').format(text) for text in self.head)
        body = Markup("")
        for row, line in enumerate(self.lines):
            cells = Markup('<th scope="row">{}</th>').format(line[0])
            for column, text in enumerate(line[1:], start=1):
                kind = Markup(' class="best"') if (row, column) in self.marked else Markup("")
                cells += Markup('<td{} data-head="{}">{}</td>').format(kind, self.head[column], text)
            body += Markup("<tr>{}</tr>\n").format(cells)
        side = Markup(' class="prose"') if self.prose else Markup("")
        return Markup("<table{}>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>").format(side, head, body)


def percent(share: float) -> str:
    """A change as people write it: a sign, one digit behind the point."""
    return f"{share:+.1%}".replace("-", "\N{MINUS SIGN}")
