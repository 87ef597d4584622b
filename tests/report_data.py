"""A page with everything that a comparison can hold, for the tests of the page and of what a browser makes of it."""

from __future__ import annotations

import torch

from difftuning.reporting import images
from difftuning.reporting.page import ReportData
from difftuning.reporting.study_page import StudyPage
from difftuning.reporting.text_table import TextTable
from difftuning.results import Row

MEASURED = {
    "finetune": {"heldout": 0.131, "frechet": 212.0, "kid": 0.081, "precision": 0.41, "recall": 0.35, "drift": 14.0},
    "diff-tuning": {"heldout": 0.127, "frechet": 219.0, "kid": 0.078, "precision": 0.42, "recall": 0.38, "drift": 9.0},
}
ROWS = [
    Row(
        study="demo",
        target="openmoji",
        method=method,
        seed=seed,
        step=1200,
        metric=metric,
        value=value * (1 + 0.001 * seed),
        network="efficientnet-lite0@128" if metric in ("frechet", "kid") else None,
        n=360,
    )
    for method, metrics in MEASURED.items()
    for metric, value in metrics.items()
    for seed in range(3)
]


STUDY = StudyPage(
    name="s",
    title="A study",
    asked="Is it so?",
    note="",
    down="target",
    metrics=("heldout",),
    curves=False,
    leaps=False,
    pictures="",
    recipe="studies/micro",
    settings=(),
    methods=(),
    rows=(),
    finished=2,
    cells=2,
)
"""The page of a study in which nothing is measured."""


def pictures(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def full(name: str = "diff-tuning", text: str = "words") -> ReportData:
    """Everything a comparison can hold."""
    grid = images.image_grid(pictures(6), 3)
    return ReportData(
        title=text,
        rows=ROWS,
        facts=[(text, text)],
        done=[text],
        differences=TextTable(("key", name), ((text, text),), prose=True),
        recipes={name: text},
        grids={text: grid, name: grid},
        steps=[(0, {name: grid}), (10, {name: grid})],
        series={f"{name} seed {seed}": [(0, 1.0), (10, 0.5)] for seed in range(3)},
        losses={f"{name} seed 0": [(1, 1.0), (10, 0.5)]},
        coefficients={"diff-tuning": ([0, 0.5, 1], [0, 0.5, 1], [1, 0.5, 0])},
        by_u_target={"pretrained": [1.0] * 10, name: [0.9] * 10},
        by_u_bank={"pretrained": [1.0] * 10, name: [1.1] * 10},
        swap={name: [(0, 3.0), (0.5, 2.0), (1, 4.0)]},
        swap_distance=f"Frechet distance ({text})",
        strips={name: images.image_strip(pictures(6).reshape(2, 3, 3, 8, 8), [0, 0.5, 1])},
        shares=[(0, {name: grid}), (0.5, {name: grid})],
        bank_picture=grid,
        bank_card=[(text, text)],
        nearest={name: grid},
        drift={name: {text: 1.0, "blocks.0": 2.0}},
        machine=[(text, text)],
        seconds={text: {"finetune": 40.0, "diff-tuning": 42.0}},
        set_aside=[(text, text)],
        commands=[text],
        notes=[text],
    )
