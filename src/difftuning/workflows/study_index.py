"""The page of all studies: what each one asks, each claim with the number that was found, and whether it agrees."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from difftuning.json_files import read_json, write_text
from difftuning.reporting.text_table import TextTable
from difftuning.results import read_rows
from difftuning.studies import KINDS
from difftuning.studies.base import Study

UNTESTED = "not tested"
VERDICTS = {True: "agrees", False: "disagrees", None: "undecided"}
"""By whether a finding agrees."""
RULE = (
    "A verdict compares means over the finished runs. It is undecided where the mean difference is less than two of its standard "
    "errors, taken over targets where there are at least three, otherwise over pairs of runs with the same seed. Written by "
    "`difftuning study` from the result rows."
)
OURS = "ours"
"""Where a study that the paper does not have comes from."""


@dataclass(frozen=True)
class _Judged:
    """A study and what its rows say.

    Attributes:
        study: which.
        finished: how many of its runs.
        lines: (claim, found, verdict) of each claim.
    """

    study: Study
    finished: int
    lines: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, study: Study, results: Path) -> _Judged:
        """From the rows of the study in the folder of results, if it has some."""
        file = results / f"{study.name}.json"
        rows = read_rows(file) if file.is_file() else []
        lines = []
        for claim in study.claims:
            found = claim.check(rows)
            number, verdict = ("", UNTESTED) if found is None else (found.number, VERDICTS[found.agrees])
            lines.append((claim.text, number, verdict))
        return cls(study, read_json(file)["finished"] if rows else 0, tuple(lines))

    def count(self) -> Counter[str]:
        """How many claims there are of each verdict."""
        return Counter(verdict for _, _, verdict in self.lines)

    def overview(self) -> tuple[str, ...]:
        """Its line in the table of all studies; a count of none stays empty."""
        counts = self.count()
        return (
            self.linked(),
            self.study.source or OURS,
            f"{self.finished} of {len(self.study.cells)}",
            *(str(counts[verdict] or "") for verdict in (*VERDICTS.values(), UNTESTED)),
        )

    def section(self) -> str:
        """What was asked, and the table of its claims."""
        table = TextTable(("claim", "found", "verdict"), self.lines, prose=True).markdown()
        return f"## {self.study.title}\n\n{self.study.asked}\n\n{table}"

    def linked(self) -> str:
        """Its title, with the page of its tables if anything is measured."""
        return f"[{self.study.title}]({self.study.name}.md)" if self.finished else self.study.title


def write_index(results: Path, pages: Path, quick: bool = False) -> Path:
    """Write `index.md` into the pages from the rows of every study that has some.

    Args:
        results: the folder of STUDY.json.
        pages: the folder of STUDY.md.
        quick: the rows are of the smallest form of each.
    """
    found = [_Judged.of(kind.quick() if quick else kind, results) for kind in KINDS.values()]
    counts = sum((one.count() for one in found), Counter())
    words = zip(VERDICTS.values(), ("agree", "disagree", "are undecided"), strict=True)
    said = ", ".join(f"{counts[verdict]} {word}" for verdict, word in words)
    overview = TextTable(
        ("study", "in the paper", "runs", *VERDICTS.values(), UNTESTED),
        tuple(one.overview() for one in found),
        prose=True,
    )
    text = "\n".join(
        [
            f"# Results\n\n{counts.total() - counts[UNTESTED]} of {counts.total()} claims tested: {said}. {RULE}\n",
            overview.markdown(),
            *(one.section() for one in found if one.lines),
        ]
    )
    path = pages / "index.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path
