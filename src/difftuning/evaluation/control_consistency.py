"""Whether drawn images obey their control: they are annotated again, and the maps compared (Diff-Tuning, App. B.1.2).

It measures obedience and not quality: a richer image may obey less (Fig. 11 of the paper).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from torchvision.transforms.functional import gaussian_blur

BLUR_SIGMA = 2.0
"""Of edges and sketches before they are compared, in pixels: a line that is a pixel off is nearly right."""


def _blurred(maps: Tensor) -> Tensor:
    width = 2 * round(3 * BLUR_SIGMA) + 1
    blurred: Tensor = gaussian_blur(maps, [width, width], [BLUR_SIGMA, BLUR_SIGMA])
    return blurred


def similarity(wanted: Tensor, found: Tensor) -> Tensor:
    """(N,) SSIM of blurred maps (N, C, H, W) in [0, 1]; 1 where they are the same."""
    each = ssim(_blurred(found), _blurred(wanted), data_range=1.0, reduction="none")
    assert isinstance(each, Tensor)
    return each


def squared_error(wanted: Tensor, found: Tensor) -> Tensor:
    """(N,) mean squared error of maps (N, C, H, W) in [0, 1]."""
    return (wanted - found).square().flatten(1).mean(1)


def accuracy(wanted: Tensor, found: Tensor) -> Tensor:
    """(N,) the share of pixels whose colour is the same, of maps (N, C, H, W) that have one colour a class."""
    return (wanted - found).abs().amax(1).lt(1 / 512).float().flatten(1).mean(1)


@dataclass(frozen=True, slots=True)
class Measure:
    """How a kind of control is compared.

    Attributes:
        name: of the measure.
        compare: maps wanted and found, (N, C, H, W) each, to (N,).
        higher: more is better.
    """

    name: str
    compare: Callable[[Tensor, Tensor], Tensor]
    higher: bool


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "edge": Measure("SSIM", similarity, True),
        "sketch": Measure("SSIM", similarity, True),
        "depth": Measure("MSE", squared_error, False),
        "normal": Measure("MSE", squared_error, False),
        "segmentation": Measure("pixel accuracy", accuracy, True),
    }
)
"""Kind of control to its measure, as in the paper's Table 7; the blur is ours, since the paper's is not published."""


def consistency(kind: str, wanted: Tensor, images: Tensor, annotate: Callable[[Tensor], Tensor]) -> Tensor:
    """How far each drawn image obeys its control.

    Args:
        kind: a key of `MEASURES`.
        wanted: (N, C, H, W) the controls, in [0, 1].
        images: (N, 3, H, W) uint8, drawn under them.
        annotate: what made the controls, images to maps.

    Returns:
        (N,) the measure of the kind.
    """
    with torch.no_grad():
        return MEASURES[kind].compare(wanted, annotate(images))
