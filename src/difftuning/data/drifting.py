"""A domain that does not stand still: its images arrive one after another, and their look and their classes move with time."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import Field, model_validator

from difftuning.config.section import Section
from difftuning.data.base import ImageSource, Skipped
from difftuning.errors import DataError


class DriftConfig(Section):
    """The part of a drifting domain that arrives between two moments of [0, 1)."""

    start: float = Field(0.0, ge=0, lt=1)
    """The moment from which on images are taken."""
    stop: float = Field(1.0, gt=0, le=1)
    """The moment before which they are taken."""
    hue: float = 0.0
    """Degrees by which colours have turned at moment 1; at moment 0 images are as they are."""
    contrast: float = Field(1.0, ge=0)
    """The contrast at moment 1, as a factor of that at moment 0."""
    class_mix: float = Field(0.0, ge=0, le=1)
    """0: all classes arrive all the time; 1: one class after the other; between, the classes overlap."""
    seed: int = Field(0, ge=0)
    """Of the moments at which images arrive."""

    @model_validator(mode="after")
    def _in_order(self) -> DriftConfig:
        if self.start >= self.stop:
            raise ValueError(f"start={self.start:g} must lie before stop={self.stop:g}")
        return self


class Drifting(ImageSource):
    """Those images of a source that arrive in a span of time, each as it looks at its own moment.

    An image's moment is a hash of (seed, its content), so it neither depends on the order of files nor on the span, and spans
    that do not overlap share no image.

    Args:
        source: the domain as it is at moment 0.
        config: how it drifts, and which part of it is taken.

    Raises:
        DataError: nothing arrives in that span.
    """

    def __init__(self, source: ImageSource, config: DriftConfig) -> None:
        self._source, self._config = source, config
        self.name = f"{source.name} from {config.start:g} to {config.stop:g}"
        self.class_names, self.notes, self.grouped = source.class_names, source.notes, source.grouped
        self._there: list[tuple[int, float]] = []
        unread = []
        for index in range(len(source)):
            try:
                moment = self._moment(index)
            except DataError as reason:
                unread.append(Skipped.of(source, index, reason))
            else:
                if config.start <= moment < config.stop:
                    self._there.append((index, moment))
        self.skipped = (*source.skipped, *unread)
        if not self._there:
            raise DataError(
                f"none of the {len(source)} images of {source.name} arrives from {config.start:g} to {config.stop:g}; "
                "widen data.drift.start and data.drift.stop"
            )

    def _moment(self, index: int) -> float:
        """In [0, 1): uniform over all images, or with class_mix over a span of the class that is as narrow."""
        digest = hashlib.sha256(f"{self._config.seed}/{self._source.key(index)}".encode()).digest()
        uniform = int.from_bytes(digest[:6], "big") / 2**48
        own = (self._source.label(index) + uniform) / len(self._source.class_names)
        return (1 - self._config.class_mix) * uniform + self._config.class_mix * own

    def __len__(self) -> int:
        """How many arrive."""
        return len(self._there)

    def read(self, index: int) -> Image.Image:
        """The image at its moment."""
        place, moment = self._there[index]
        image = self._source.read(place)
        colours = image.convert("RGB")
        turned = round(256 * moment * self._config.hue / 360) % 256
        if turned:
            pixels = np.array(colours.convert("HSV"))
            pixels[..., 0] += np.uint8(turned)  # the circle of hues has 256 steps, as the type has
            colours = Image.fromarray(pixels, "HSV").convert("RGB")
        factor = 1 + moment * (self._config.contrast - 1)
        if factor != 1:
            colours = ImageEnhance.Contrast(colours).enhance(factor)
        if image.mode == "RGBA":
            colours.putalpha(image.getchannel("A"))
        return colours

    def label(self, index: int) -> int:
        """Its class."""
        return self._source.label(self._there[index][0])

    def key(self, index: int) -> str:
        """The sha256 of its content and of what became of it."""
        place, moment = self._there[index]
        look = f"hue {moment * self._config.hue}/contrast {1 + moment * (self._config.contrast - 1)}"
        return hashlib.sha256(f"{self._source.key(place)}/{look}/v1".encode()).hexdigest()

    def origin(self, index: int) -> str:
        """The file or row."""
        return self._source.origin(self._there[index][0])

    def place(self, index: int) -> str:
        """The file or row within its set."""
        return self._source.place(self._there[index][0])

    def size(self, index: int) -> tuple[int, int] | None:
        """The sides of its picture."""
        return self._source.size(self._there[index][0])

    def caption(self, index: int) -> str | None:
        """Its caption."""
        return self._source.caption(self._there[index][0])

    def group(self, index: int) -> str:
        """The name of its group."""
        return self._source.group(self._there[index][0])

    def in_column(self, column: str, index: int) -> bytes:
        """Another picture of its row, as it is at moment 0."""
        return self._source.in_column(column, self._there[index][0])
