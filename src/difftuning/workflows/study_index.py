"""The page of all studies: each claim, the number that was found, and whether it agrees."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from difftuning.json_files import read_json, write_text
from difftuning.reporting.text_table import TextTable
from difftuning.results import read_rows
from difftuning.studies import KINDS

UNTESTED = "not tested"
VERDICTS = {True: "agrees", False: "disagrees", None: "undecided"}
"""By whether a finding agrees."""
RULE = (
    "A verdict compares means over the finished runs, whose number stands in the last column. It is undecided where the mean "
    "difference is less than two of its standard errors, taken over targets where there are at least three, otherwise over "
    "pairs of runs with the same seed. Written by `difftuning study` from the result rows."
)


def write_index(results: Path, pages: Path, quick: bool = False) -> Path:
    """Write `index.md` into the pages from the rows of every study that has some.

    Args:
        results: the folder of STUDY.json.
        pages: the folder of STUDY.md.
        quick: the rows are of the smallest form of each.
    """
    tested: list[tuple[str, ...]] = []
    untested: list[tuple[str, ...]] = []
    for one in (kind.quick() if quick else kind for kind in KINDS.values()):
        file = results / f"{one.name}.json"
        measured = file.is_file()
        rows = read_rows(file) if measured else []
        title = f"[{one.title}]({one.name}.md)" if measured else one.title
        state = f"{read_json(file)['finished']} of {len(one.cells)}" if measured else f"0 of {len(one.cells)}"
        for claim in one.claims:
            found = claim.check(rows)
            verdict = UNTESTED if found is None else VERDICTS[found.agrees]
            line = (title, one.source, claim.text, "" if found is None else found.number, verdict, state)
            (untested if found is None else tested).append(line)
    head = ("study", "in the paper", "claim", "found", "verdict", "runs")
    counts = Counter(line[4] for line in tested)
    words = zip(VERDICTS.values(), ("agree", "disagree", "are undecided"), strict=True)
    said = ", ".join(f"{counts[verdict]} {word}" for verdict, word in words)
    text = (
        f"# Results\n\n{len(tested)} of {len(tested) + len(untested)} claims tested: {said}. {RULE}\n\n"
        + TextTable(head, tuple([*tested, *untested]), prose=True).markdown()
    )
    path = pages / "index.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path
