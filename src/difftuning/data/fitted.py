"""What becomes of pictures that are not as large and as square as the model's: enlarged, or cut."""

from __future__ import annotations

from collections.abc import Iterable

from difftuning.data.base import ImageSource

CUT = 0.25
"""Of a picture: the share that the crop to a square may take without a word."""


def report(source: ImageSource, indices: Iterable[int], side: int) -> list[str]:
    """How many of some images are enlarged, and how many lose much to the crop; nothing where none does, or no size is known.

    Args:
        source: of the images, whose keys have been asked for.
        indices: which of them.
        side: of the model's images in pixels.
    """
    sizes = [size for index in indices if (size := source.size(index)) is not None]
    small = sum(min(size) < side for size in sizes)
    cut = sum(min(size) < (1 - CUT) * max(size) for size in sizes)
    if not small and not cut:
        return []
    return [
        f"{small} of {len(sizes)} images are smaller than {side} pixels and are enlarged; "
        f"{cut} lose more than a quarter to the crop to a square"
    ]
