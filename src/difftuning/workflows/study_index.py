"""The page of all studies: what each one asks, each claim with the number that was found, and whether it agrees."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from difftuning.json_files import read_json, write_text
from difftuning.reporting.text_table import TextTable
from difftuning.results import read_rows
from difftuning.studies import KINDS
from difftuning.studies.axes import ADAPTIVE, DIFF_TUNING, FINETUNE, MEASURED, MEASURED_RETENTION, RETENTION
from difftuning.studies.base import Study
from difftuning.studies.continual import ADAPTIVE_STREAM, JOINT

UNTESTED = "not tested"
VERDICTS = {True: "agrees", False: "disagrees", None: "undecided"}
"""By whether a finding agrees."""
RULE = (
    "A verdict compares means over the finished runs. It is undecided where the 95 % confidence interval of the mean difference "
    "(by Student's t, over targets where there are at least three, otherwise over pairs of runs with the same seed) reaches over "
    "the bound; of so many claims some agree by chance. *Nowhere behind* is judged by the worst of the means alone. Written from "
    "the result rows by `difftuning study all --results benchmarks/results --pages docs/results`; `docs/how-to/studies.md` tells "
    "where its data come from, and what was not run."
)
WHOSE = (
    "A study that names a place in the paper asks what the paper says there, and beside it the same of our own methods; the others "
    "are ours."
)
COUNTED = (
    "The page of a study tells what each of its methods changes in the recipe. Where not all settings were run with all methods, "
    "as in the map, the means of two methods are over different runs."
)
NAMES = {
    FINETUNE: "standard fine-tuning",
    DIFF_TUNING: "the paper's method: psi = u, xi = 1 - u; in the study of families psi = u^0.3",
    RETENTION: "psi = 1, xi = 1 - u: retention beside the whole weight of the target, of the paper's ablations",
    ADAPTIVE: "the default of this library: as `retention only`, but by what the training itself has measured so far",
    MEASURED: "psi as a probe advises, which trains first; half of the bank under the target's classes",
    MEASURED_RETENTION: "xi = 1 - the psi that a probe advises, beside the whole weight of the target",
    ADAPTIVE_STREAM: "the default of streams: adaptive, and the current model draws the bank anew before each domain",
    JOINT: "all domains of a stream at once, which a stream can hardly be ahead of",
}
"""What the methods of most studies are; the page of each study tells what all of its methods change in the recipe."""
OURS = "ours"
"""Where a study that the paper does not have comes from."""


@dataclass(frozen=True)
class _Judged:
    """A study and what its rows say.

    Attributes:
        study: which.
        finished: how many of its runs.
        lines: (claim, found, verdict) of each of its claims.
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

    def count(self, method: str | None = None) -> Counter[str]:
        """How many claims there are of each verdict, or of those about a method."""
        return Counter(
            verdict
            for claim, (_, _, verdict) in zip(self.study.claims, self.lines, strict=True)
            if method in (None, claim.method)
        )

    def overview(self) -> tuple[str, ...]:
        """Its line in the table of all studies: claims about the paper's method + about others."""
        paper, all_ = self.count(DIFF_TUNING), self.count()
        return (
            self.linked(),
            self.study.source or OURS,
            f"{self.finished} of {len(self.study.cells)}",
            *(
                f"{paper[verdict]} + {all_[verdict] - paper[verdict]}" if all_[verdict] else ""
                for verdict in (*VERDICTS.values(), UNTESTED)
            ),
        )

    def section(self) -> str:
        """What was asked, and the table of its claims."""
        table = TextTable(("claim", "found", "verdict"), self.lines, prose=True).markdown()
        return f"## {self.study.title}\n\n{self.study.asked}\n\n{table}"

    def linked(self) -> str:
        """Its title, with the page of its tables if anything is measured."""
        return f"[{self.study.title}]({self.study.name}.md)" if self.finished else self.study.title


def write_index(results: Path, pages: Path, quick: bool = False) -> Path:
    """Write `index.md` into the pages: all studies, and what the rows say of their claims.

    Args:
        results: the folder of STUDY.json.
        pages: the folder of STUDY.md.
        quick: the rows are of the smallest form of each.
    """
    found = [_Judged.of(kind.quick() if quick else kind, results) for kind in KINDS.values()]
    counts, paper = (sum((one.count(method) for one in found), Counter()) for method in (None, DIFF_TUNING))
    overview = TextTable(
        ("study", "in the paper", "runs", *VERDICTS.values(), UNTESTED),
        tuple(one.overview() for one in found),
        prose=True,
    )
    text = "\n".join(
        [
            f"# Results\n\n{WHOSE} {_said(counts)}. Of those about `{DIFF_TUNING}`, {_said(paper)}. {RULE}\n",
            TextTable(("method", "what it is"), tuple(NAMES.items()), prose=True).markdown(),
            f"Claims by verdict: about `{DIFF_TUNING}` + about others. {COUNTED}\n",
            overview.markdown(),
            *(one.section() for one in found if one.lines),
        ]
    )
    path = pages / "index.md"
    write_text(path, text)
    return path


def _said(counts: Counter[str]) -> str:
    """How many claims were tested, and with what verdict."""
    verdicts = zip(VERDICTS.values(), ("agree", "disagree", "are undecided"), strict=True)
    said = ", ".join(f"{counts[verdict]} {words}" for verdict, words in verdicts)
    return f"{counts.total() - counts[UNTESTED]} of {counts.total()} claims are tested: {said}"
