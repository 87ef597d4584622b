"""The swap curve of a study's cell: the last steps of its samples given back to the pretrained model."""

from __future__ import annotations

from pathlib import Path

from difftuning.atomic import write_bytes
from difftuning.json_files import read_json, write_json
from difftuning.results import SWAP, Row
from difftuning.workflows.diagnose import STRIP, diagnose
from difftuning.workflows.display import Display
from difftuning.workflows.recipe import Recipe

SWAP_SAMPLES = 256
"""At most so many behind each point."""


def swap_files(judged: Path) -> tuple[Path, Path]:
    """Where the curve of a cell is kept, and its pictures: beside the file of its other rows."""
    return judged.with_name(f"{judged.stem}-swap.json"), judged.with_name(f"{judged.stem}-swap.safetensors")


def swap_rows(made: Recipe, judged: Path, like: Row, display: Display) -> list[Row]:
    """The curve of a finished run as rows, measured where that has not been done.

    Args:
        made: the recipe of the run.
        judged: the file of its other rows, beside which the curve is kept.
        like: one of those, for all that the new ones share with it.
        display: shows progress.
    """
    file, strip = swap_files(judged)
    if not file.is_file():
        samples = min(SWAP_SAMPLES, made.evaluation.samples)
        found = diagnose(made.folder, display, samples, recipe=made)
        # Another way to judge the same run draws another strip.
        write_bytes(strip, (made.folder / STRIP).read_bytes())
        write_json(file, found)
    found = read_json(file)
    return [
        like.model_copy(
            update={
                "metric": f"{SWAP}{metric}",
                "value": point[metric],
                "setting": {"share": point["share"]},
                "network": found["network"],
                "n": found["samples"],
            }
        )
        for point in found["swap"]
        for metric in ("frechet", "kid")
    ]
