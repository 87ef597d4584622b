"""Whether two ways to make control maps mean the same by them: given ones and an annotator's, of the same images.

Depth may have near light or dark, edges may be white or black, and normals may point to either side; what a network is told of the
target must not say the opposite of what it is told of the bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from difftuning.evaluation.control_consistency import MEASURES, Measure

ENOUGH = 8
"""Images below which nothing is clear."""
NEARLY_ALL = 0.9
"""The share of the images that must agree better when turned over, for that to be clear."""
MOST = 2 / 3
"""The share that must agree better with their own map than with another image's: by chance half of them do."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far given maps agree with made ones, by the measure of the kind; see `agreement` for what becomes of them first.

    Attributes:
        measure: of the kind.
        count: of images.
        own: the mean over images.
        other: that of each given map with the next image's made one.
        ahead: how many images agree better with their own.
        channels: those whose turning over makes it best on average and in most images; none where it is best as it is, and of
            classes, which have no opposite.
        turned: the mean with them turned over.
        better: how many images agree better so.
    """

    measure: Measure
    count: int
    own: float
    other: float
    ahead: int
    channels: tuple[int, ...]
    turned: float
    better: int

    @property
    def opposite(self) -> bool:
        """They clearly say the opposite."""
        return bool(self.channels) and self.count >= ENOUGH and self.better >= NEARLY_ALL * self.count

    @property
    def related(self) -> bool:
        """They say more of their own image than of another, and nothing hints at an opposite; of one image nobody can tell."""
        return not self.channels and (self.ahead >= MOST * self.count or self.count < 2)


def agreement(kind: str, given: Tensor, made: Tensor) -> Agreement:
    """Compare the maps (N, K, S, S) of the same images, in [0, 1].

    Lines may have any width, so they are compared less their mean, and what is turned over is the negative; depth and normals may
    have any scale too, so of them each map is divided by its spread besides.
    """
    measure, classes = MEASURES[kind], kind == "segmentation"
    if not classes:
        given, made = (one - one.mean((2, 3), keepdim=True) for one in (given, made))
    if kind in ("depth", "normal"):
        given, made = (one / one.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6) for one in (given, made))
    own = measure.compare(given, made)
    other = measure.compare(given, made.roll(1, 0))
    best = own
    channels: tuple[int, ...] = ()
    places = range(0 if classes else given.shape[1])
    for some in (some for count in places for some in combinations(places, count + 1)):
        signs = torch.ones(given.shape[1])
        signs[list(some)] = -1
        turned = measure.compare(given * signs[:, None, None], made)
        if _ahead(measure, turned.mean(), best.mean()):
            best, channels = turned, some
    better = int(_ahead(measure, best, own).sum())
    if 2 * better <= len(given):
        best, channels, better = own, (), 0
    ahead = int(_ahead(measure, own, other).sum())
    mean, apart, turned_over = (float(one.mean()) for one in (own, other, best))
    return Agreement(measure, len(given), mean, apart, ahead, channels, turned_over, better)


def _ahead(measure: Measure, one: Tensor, other: Tensor) -> Tensor:
    return one > other if measure.higher else one < other
