"""The page of a stream in Markdown, with its heat map beside it; it states only what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from difftuning.atomic import write_bytes
from difftuning.continual.measures import Measured
from difftuning.continual.stream import Stream
from difftuning.json_files import write_text
from difftuning.reporting.heat_map import heat_map
from difftuning.reporting.metrics import DISTANCES, LABELS
from difftuning.reporting.text_table import TextTable, percent

SHOWN = ("heldout", "frechet", "fid")
"""The measures that the heat map has, where they were measured."""


def write_page(path: Path, stream: Stream, found: Measured) -> dict[str, Path]:
    """Write the page, and the heat map as SVG under the same name; returns both."""
    picture = path.with_suffix(".svg")
    panels = {LABELS[metric]: matrix.values for metric, matrix in found.matrices.items() if metric in SHOWN}
    write_bytes(picture, heat_map(panels, ("pretrained", *found.phases), found.phases))
    write_text(path, "\n\n".join(_parts(stream, found, picture.name)) + "\n")
    return {"page": path, "heat_map": picture}


def _parts(stream: Stream, found: Measured, picture: str) -> Iterator[str]:
    settings = ", ".join(f"{name} {value}" for name, value in stream.method if name != "kind" and value is not None)
    yield f"# {stream.name}"
    yield f"{len(found.phases)} phases by `{stream.method.kind}`{f' ({settings})' if settings else ''}, labels {stream.labels}."
    yield f"![What each model knows of each phase]({picture})"
    yield (
        "A line is a model, a column the held-out images of a phase; bold is a phase just after it was trained on, and changes are "
        "against that. A class that a model does not know yet is asked under no condition."
    )
    yield "## On all phases so far"
    yield _cumulative(found)
    yield _means(found)
    if found.banks:
        yield "## The banks"
        yield (
            "How far the images of the bank of each phase have moved from the first bank, and how far they are from each phase. "
            "Items that were kept are among them."
        )
        yield _banks(found)
    yield (
        f"Distances are over {found.network}, {found.samples} samples, and biased over few: compare them at equal numbers."
    )


def _cumulative(found: Measured) -> str:
    metrics = list(found.cumulative[0])
    lines = [
        (phase, *(f"{values[metric]:.4g}" for metric in metrics))
        for phase, values in zip(found.phases, found.cumulative, strict=True)
    ]
    return TextTable(("after", *(LABELS[metric] for metric in metrics)), tuple(lines)).markdown().rstrip()


def _means(found: Measured) -> str:
    error = found.matrices["heldout"]
    said = {
        "Forgetting, the mean rise of the held-out error of earlier phases since they were trained on": error.mean_forgetting(),
        "Forward transfer, the mean change of the held-out error of a phase just before it, against the pretrained model": (
            error.mean_forward()
        ),
    }
    return "\n".join(f"- {what}: {percent(share)}" for what, share in said.items() if share is not None)


def _banks(found: Measured) -> str:
    """The distance that comes first, the Frechet distance."""

    def line(others: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
        # A bank is at no distance from itself, but for the last bits.
        return tuple(f"{abs(round(values[DISTANCES[0]], 6)):.4g}" for values in others.values())

    head = ("bank of", *(f"to {other}" for other in next(iter(found.banks.values()))))
    lines = tuple((phase, *line(others)) for phase, others in found.banks.items())
    return TextTable(head, lines).markdown().rstrip()
