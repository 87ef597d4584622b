"""That the maps which come with a target say what the maps of the bank say: looked at before anything is drawn or trained."""

from __future__ import annotations

import torch
from torch import Tensor

from difftuning.data.cache import cache_folder
from difftuning.data.control_maps import ControlConfig, required_annotator
from difftuning.data.controls import CHANNELS
from difftuning.data.latents import LatentSet
from difftuning.data.target import Target
from difftuning.data.target_maps import made_maps
from difftuning.errors import DataError
from difftuning.evaluation.control_consistency import MEASURES
from difftuning.evaluation.map_conventions import Agreement, agreement
from difftuning.workflows.controls import Controls
from difftuning.workflows.display import Display
from difftuning.workflows.drawing import spread

LOOKED_AT = 16
"""Images that are annotated for it."""


def check_conventions(controls: Controls, target: Target, display: Display) -> None:
    """Compare some given maps with those that the annotator makes of the same images, and say so where they disagree.

    Raises:
        ConfigError: nothing makes such maps.
        DataError: the maps clearly say the opposite, or are of classes that ours does not know.
    """
    config, part = controls.config, target.train
    if not config.given:
        return
    assert isinstance(part, LatentSet)
    annotator, leave_out = required_annotator(config), f"leave control.{_place(config)} out to have them made"
    places = spread(len(controls.train), min(LOOKED_AT, len(controls.train)))
    given = controls.train.get(places)
    if config.kind == "segmentation" and config.annotator is None:
        _see_our_colours(given, annotator((given * 255).round().to(torch.uint8)), leave_out)
    made = made_maps(
        annotator, config.kind, target.source, target.transform, part.indices[places].tolist(), cache_folder()
    )
    found = agreement(config.kind, given, made.get(torch.arange(len(made))))
    if found.opposite:
        raise DataError(
            f"{_said(config, found)}; maps of the bank would say the opposite of the target's: turn the given ones over (the "
            f"highest value less each), or {leave_out}"
        )
    if not found.related:
        display.note(
            f"warning: {_said(config, found)}; maps of the bank are made by the annotator, so look at both, and set "
            f"control.annotator to what made the given ones, or {leave_out}"
        )


def _see_our_colours(given: Tensor, nearest: Tensor, leave_out: str) -> None:
    """See that given classes are of the twelve colours that ours makes: the nearest of these to each is itself."""
    if float(MEASURES["segmentation"].compare(given, nearest).min()) == 1:
        return
    strange = (given - nearest).abs().amax(1).gt(1 / 512).nonzero()[0].tolist()
    colour = (given[strange[0], :, strange[1], strange[2]] * 255).round().int().tolist()
    raise DataError(
        f"the given segmentation maps hold the colour {tuple(colour)}, which is none of the twelve of the bank's maps; "
        f"set control.annotator to what made the given ones, or {leave_out}"
    )


def _said(config: ControlConfig, found: Agreement) -> str:
    """What was seen, with the numbers."""
    name, annotator = found.measure.name, config.annotator or "our annotator"
    begin = f"the {config.kind} maps of control.{_place(config)} and those that {annotator} makes of the same images"
    if not found.channels:
        return (
            f"{begin} agree better than those of different images in no more than {found.ahead} of {found.count} ({name} "
            f"{found.own:.3f} of the same, {found.other:.3f} of different ones)"
        )
    less = "each map less its mean" if found.measure.higher else "each map less its mean and over its spread"
    colours = " and ".join(("red", "green", "blue")[channel] for channel in found.channels)
    how = "light and dark" if CHANNELS[config.kind] == 1 else colours
    return (
        f"{begin} agree better in {found.better} of {found.count} images with {how} turned over ({name} {found.own:.3f} as they "
        f"are, {found.turned:.3f} turned over, {less})"
    )


def _place(config: ControlConfig) -> str:
    return "column" if config.folder is None else "folder"
