"""How far a ControlNet obeys while it trains: always under the same held-out controls and prompts and from the same noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from difftuning.atomic import write_bytes
from difftuning.backbones.base import Backbone
from difftuning.data.control_maps import required_annotator
from difftuning.data.target import Target
from difftuning.evaluation.control_consistency import MEASURES, consistency
from difftuning.processes import present
from difftuning.reporting.images import page_grid
from difftuning.workflows.controls import Controls, UnderMaps
from difftuning.workflows.drawing import draw_images, spread
from difftuning.workflows.recipe import SamplingConfig

COLUMNS = 16
"""Items that a picture shows: their controls above, what was drawn of them below."""
BY_OBEDIENCE = "obedience-step"
"""How the pictures are called that show the most and the least obedient items, with the maps of what was drawn in a third line."""
MEAN, ITEMS = "consistency", "consistency_items"
"""The names of the mean, and of the list of all items, in metrics.jsonl."""


def consistency_of(
    backbone: Backbone, target: Target, rows: Tensor, controls: Controls, sampling: SamplingConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw under held-out controls, make maps of what was drawn, and compare.

    Returns:
        (N,) the measure of each item, their wanted maps (N, K, S, S) in [0, 1], and the images (N, 3, S, S) uint8.

    Raises:
        ConfigError: nothing makes maps of this kind.
    """
    config, count = controls.config, len(controls.heldout)
    places = spread(count, min(config.items, count))
    conditions = UnderMaps(rows[target.heldout.labels[places]], controls.heldout, places)
    images = draw_images(backbone, conditions, sampling)
    wanted = controls.heldout.get(places)
    return consistency(config.kind, wanted, images, required_annotator(config)), wanted, images


def measurement(
    backbone: Backbone, target: Target, rows: Tensor, controls: Controls, sampling: SamplingConfig, pictures: Path
) -> Callable[[int], dict[str, Any]]:
    """A hook's action: the mean and the items, and a picture of some of them in a folder."""

    def measure(step: int) -> dict[str, Any]:
        items, wanted, images = consistency_of(backbone, target, rows, controls, sampling)
        present().on_main(lambda: show(step, items, wanted, images))
        return {MEAN: float(items.mean()), ITEMS: [round(value, 6) for value in items.tolist()]}

    def show(step: int, items: Tensor, wanted: Tensor, images: Tensor) -> None:
        _sheet(pictures / f"control-step-{step:08d}.png", _as_pictures(wanted[:COLUMNS]), images[:COLUMNS])
        config = controls.config
        ranked = items.argsort(descending=MEASURES[config.kind].higher)
        # As many from either end, best first; all of them where there are few.
        half = min(COLUMNS, len(ranked)) // 2 or 1
        chosen = torch.cat([ranked[:half], ranked[max(half, len(ranked) - half) :]])
        found = required_annotator(config)(images[chosen])
        lines = _as_pictures(wanted[chosen]), images[chosen], _as_pictures(found)
        _sheet(pictures / f"{BY_OBEDIENCE}-{step:08d}.png", *lines)

    return measure


def _as_pictures(maps: Tensor) -> Tensor:
    """(N, 3, S, S) uint8 of maps (N, K, S, S) in [0, 1]."""
    return (maps * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)


def _sheet(path: Path, *lines: Tensor) -> None:
    write_bytes(path, page_grid(torch.cat(lines), columns=len(lines[0])))
