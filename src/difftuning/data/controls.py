"""Control maps: what a ControlNet is told of an image, made from the image itself by an annotator.

    name           channels  what it is
    edge           1         Canny's edges, 0 or 1
    sketch         1         a soft edge, made 0 or 1
    depth          1         near is dark or light, as whoever measured it has it
    normal         3         surface normals, (n + 1) / 2: a flat wall is (.5, .5, 1)
    segmentation   3         regions of one colour each

Maps are float32 in [0, 1] of the image's size. An annotator is a pure function of one image, so the control of a target image and
that of a bank item are made alike, and a drawn image can be annotated again to see whether it obeys.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from types import MappingProxyType

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from difftuning.errors import ConfigError

Image = NDArray[np.uint8]
"""(H, W, 3)"""
CANNY = (100, 200)
"""Thresholds of the gradient, those of ControlNet's own annotator."""
SOFT_SIGMA, SKETCH_AT = 1.0, 0.12
"""Of the blur before a soft edge, in pixels, and where it becomes a line, as a share of the steepest edge that there can be."""
LIKELY = 0.5
"""Where the soft edge of a detector, a likelihood, becomes a line of a sketch; ControlNet's own scribbles have it there."""
PALETTE: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "white": (255, 255, 255),
        "black": (0, 0, 0),
        "grey": (128, 128, 128),
        "red": (220, 40, 40),
        "orange": (250, 150, 40),
        "yellow": (250, 220, 70),
        "green": (60, 170, 70),
        "blue": (50, 110, 220),
        "sky": (130, 200, 240),
        "purple": (140, 80, 180),
        "pink": (245, 160, 190),
        "brown": (130, 80, 50),
    }
)
"""Of segmentation by colour, in sRGB; distances are taken in CIELAB."""


@dataclass(frozen=True, slots=True)
class Annotator:
    """Makes controls.

    Attributes:
        spec: all that decides its maps, for cache keys.
        channels: of its maps.
        annotate: (H, W, 3) uint8 to (H, W, channels) float32 in [0, 1].
    """

    spec: str
    channels: int
    annotate: Callable[[Image], NDArray[np.float32]]

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8 to maps (N, channels, H, W) float32 in [0, 1]."""
        maps = [self.annotate(image.permute(1, 2, 0).contiguous().numpy()) for image in images.cpu()]
        return torch.stack([torch.from_numpy(one).permute(2, 0, 1).contiguous() for one in maps])


def _edge(image: Image) -> NDArray[np.float32]:
    """Canny 1986, of the luminance."""
    edges = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), *CANNY)
    return np.asarray(edges[..., None] / 255, np.float32)


def soft_edge(image: Image) -> NDArray[np.float32]:
    """(H, W) the length of the blurred image's gradient, the largest over its colours, as a share of the steepest there can be."""
    blurred = cv2.GaussianBlur(image.astype(np.float32) / 255, (0, 0), SOFT_SIGMA)
    across, down = (cv2.Sobel(blurred, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    # Sobel takes 4 times the difference of the two pixels beside one. At a step from 0 to 1 they lie half a pixel behind its border
    # and one and a half before it, and the blur makes the step a normal distribution.
    normal = NormalDist(sigma=SOFT_SIGMA)
    lengths = np.hypot(across, down) / (4 * (normal.cdf(0.5) - normal.cdf(-1.5)))
    return np.asarray(lengths.max(-1), np.float32)


def _sketch(image: Image) -> NDArray[np.float32]:
    return (soft_edge(image) > SKETCH_AT).astype(np.float32)[..., None]


def _lab(colours: Image) -> NDArray[np.float32]:
    """(..., 3) sRGB uint8 as CIELAB."""
    flat = colours.reshape(1, -1, 3).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB), np.float32).reshape(colours.shape)


def regions(image: Image) -> NDArray[np.int64]:
    """(H, W) the place in the palette of the colour that is nearest to each pixel's."""
    colours = _lab(np.array([*PALETTE.values()], np.uint8))
    apart = np.linalg.norm(_lab(image)[..., None, :] - colours, axis=-1)
    return np.asarray(apart.argmin(-1), np.int64)


def _segmentation(image: Image) -> NDArray[np.float32]:
    return np.asarray(np.array([*PALETTE.values()])[regions(image)] / 255, np.float32)


def normals(depth: Tensor, scale: float = 1.0) -> Tensor:
    """Surface normals of depth maps, as colours.

    Args:
        depth: (N, 1, H, W) in [0, 1].
        scale: the depth of the scene, in widths of the image: how steep a slope in the map is.

    Returns:
        (N, 3, H, W) in [0, 1]: (n + 1) / 2 of unit normals, a flat wall being (.5, .5, 1).
    """
    side = depth.shape[-1]
    down, across = torch.gradient(depth * scale * side, dim=(2, 3))
    normal = torch.cat([-across, -down, torch.ones_like(depth)], dim=1)
    return (torch.nn.functional.normalize(normal, dim=1) + 1) / 2


ANNOTATORS: Mapping[str, Annotator] = MappingProxyType(
    {
        "edge": Annotator(f"canny-{CANNY}-v1", 1, _edge),
        "sketch": Annotator(f"soft-edge-{SOFT_SIGMA}-{SKETCH_AT}-v1", 1, _sketch),
        "segmentation": Annotator(f"colours-{len(PALETTE)}-v1", 3, _segmentation),
    }
)
"""Kind to those of ours, which need nothing but the image; depth and normals come with the data, or from a network."""


CHANNELS: Mapping[str, int] = MappingProxyType({"edge": 1, "sketch": 1, "depth": 1, "normal": 3, "segmentation": 3})
"""Kind of control to the channels of its maps."""


@cache
def annotator_of(kind: str, name: str | None) -> Annotator | None:
    """What makes the controls of a kind; made once, since target, bank and measurements ask for it and it may be a large network.

    Args:
        kind: a key of `CHANNELS`.
        name: `module:package.module:Class`, a `torch.nn.Module` made without arguments, (N, 3, H, W) uint8 to (N, channels, H, W)
            in [0, 1]; `aux:Class`, a detector of the package controlnet-aux; None for ours.

    Returns:
        The annotator; None where none is asked for and we have none for the kind.

    Raises:
        ConfigError: it cannot be had.
    """
    if name is None:
        return ANNOTATORS.get(kind)
    scheme, _, where = name.partition(":")
    if scheme == "module":
        return _from_module(where, CHANNELS[kind])
    if scheme == "aux":
        return _from_controlnet_aux(where, kind)
    raise ConfigError(
        f"control.annotator={name!r} is none; write module:package.module:Class, aux:Class, or null for ours"
    )


def _from_module(where: str, channels: int) -> Annotator:
    module_name, _, class_name = where.partition(":")
    try:
        made = getattr(importlib.import_module(module_name), class_name)
        network = made().eval()
    except (ImportError, AttributeError, TypeError, ValueError, OSError) as reason:
        raise ConfigError(
            f"control.annotator=module:{where}: {reason}; write module:package.module:Class, a torch.nn.Module that is made "
            "without arguments"
        ) from reason
    if not isinstance(network, nn.Module):
        raise ConfigError(f"control.annotator=module:{where} is no torch.nn.Module")
    # The source of its module too: a user edits it between two runs without touching the weights.
    content = hashlib.sha256(inspect.getsource(inspect.getmodule(made) or made).encode())
    for key, value in sorted(network.state_dict().items()):
        content.update(key.encode() + value.cpu().contiguous().numpy().tobytes())

    @torch.no_grad()
    def annotate(image: Image) -> NDArray[np.float32]:
        answer = network(torch.from_numpy(image).permute(2, 0, 1)[None])
        if answer.shape != (1, channels, *image.shape[:2]):
            raise ConfigError(
                f"control.annotator=module:{where} answered {tuple(answer.shape)} to an image of {image.shape[:2]}; "
                f"it must give {(1, channels, *image.shape[:2])}"
            )
        found: NDArray[np.float32] = answer[0].float().clamp(0, 1).permute(1, 2, 0).numpy()
        return found

    return Annotator(f"{where}-{content.hexdigest()}", channels, annotate)


def _from_controlnet_aux(where: str, kind: str) -> Annotator:
    try:
        package = importlib.import_module("controlnet_aux")
        detector = getattr(package, where).from_pretrained("lllyasviel/Annotators")
    except ImportError as reason:
        raise ConfigError(
            f"control.annotator=aux:{where} needs the package controlnet-aux ({reason}); pip install controlnet-aux"
        ) from reason
    except AttributeError as reason:
        raise ConfigError(f"control.annotator=aux:{where}: controlnet-aux has no detector of that name") from reason
    except Exception as reason:  # whatever the hub's client raises without its weights
        raise ConfigError(
            f"control.annotator=aux:{where}: its weights could not be had ({type(reason).__name__}: {reason}); "
            "connect to the hub once, or use another annotator"
        ) from reason
    return of_detector(detector, f"{where}-controlnet-aux-{importlib.metadata.version('controlnet-aux')}", kind)


def of_detector(detector: Callable[..., NDArray[np.uint8]], name: str, kind: str) -> Annotator:
    """An annotator of a detector that is called as those of controlnet-aux are; a sketch is made black or white, as the paper's.

    Args:
        detector: (S, S, 3) uint8 to a map of about that size.
        name: of the detector and its version.
        kind: a key of `CHANNELS`.
    """
    channels = CHANNELS[kind]

    def annotate(image: Image) -> NDArray[np.float32]:
        side = image.shape[0]
        drawn = detector(image, detect_resolution=side, image_resolution=side, output_type="np")
        sized = cv2.resize(np.asarray(drawn), (side, side), interpolation=cv2.INTER_AREA)
        found = np.asarray(sized.reshape(side, side, -1)[..., :channels] / 255, np.float32)
        return (found > LIKELY).astype(np.float32) if kind == "sketch" else found

    return Annotator(f"{name}-above-{LIKELY}" if kind == "sketch" else name, channels, annotate)
