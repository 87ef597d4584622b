"""Bytes to a picture, or to a reason why not."""

from __future__ import annotations

import io
import time
import warnings

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from difftuning.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "ICO", "TGA", "QOI")
"""What is read. Pillow knows more, and hands one of them (EPS) to another program, which runs what is in the file."""
SECONDS = 20.0
"""Of the processor for one image: the largest allowed takes a few, and a hostile one can take hours."""
_BITS = 258
"""The tag of a TIFF that says of how many bits a value is."""
_BLOCK = 4096
"""Bytes between two looks at the clock."""


class _Timed(io.BytesIO):
    """The content of a file, which stops being read when decoding has taken too long."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._until = time.thread_time() + SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._until:
            raise DataError(f"decoding took more than {SECONDS:g} seconds")
        return super().read(size)


def decode(data: bytes, origin: str, max_pixels: int, stretched: bool = False) -> Image.Image:
    """Decode an image of one of `FORMATS` to RGB, or to RGBA where something is transparent.

    The first frame of an animation is taken and the camera's orientation is applied. Grey of more than 8 bits
    keeps its whole range.

    Args:
        data: the content of the file.
        origin: named in messages.
        max_pixels: larger images are refused before a pixel is decoded.
        stretched: grey of more than 8 bits comes from its own lowest to its highest value, as numbers from 0 to 255 (mode F): what
            measures depth in millimetres ends far below the range of its file.

    Raises:
        DataError: it is empty, not an image, truncated, damaged, too large, of unbounded values, or takes more than `SECONDS`.
    """
    if not data:
        raise DataError(f"{origin}: the file is empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, for which we have a limit of our own, and of damaged tags, which do not change pixels.
            warnings.simplefilter("ignore")
            if Image.MAX_IMAGE_PIXELS is not None and Image.MAX_IMAGE_PIXELS < max_pixels:
                Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own, which ours replaces where it is higher
            Image.init()  # all kinds that Pillow knows; a list of some does not find those that are not there yet
            image = Image.open(_Timed(data), formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"{origin}: {image.width}x{image.height} pixels exceed the limit of {max_pixels}; raise data.max_pixels"
                )
            if isinstance(image, ImageFile.ImageFile):
                image.decodermaxblock = _BLOCK
            bits = min(16, int(image.tag_v2.get(_BITS, (16,))[0])) if isinstance(image, TiffImageFile) else 16
            image.load()
            upright = ImageOps.exif_transpose(image)
            return (
                _of_wide_grey(upright, bits, stretched, origin)
                if upright.mode.startswith("I")
                else _as_rgb(upright, origin)
            )
    except DataError as reason:
        raise DataError(f"{origin}: {str(reason).removeprefix(f'{origin}: ')}") from reason
    except UnidentifiedImageError:
        raise DataError(f"{origin}: not an image of a kind that is read ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as reason:
        raise DataError(f"{origin}: {reason}; raise data.max_pixels") from reason
    except Exception as reason:  # Pillow's decoders answer damaged data with a dozen kinds of exceptions
        raise DataError(f"{origin}: truncated or damaged ({reason})") from reason


def size_of(data: bytes) -> tuple[int, int] | None:
    """The sides of an image as it is stored, by the head of its file; None where that is no image. No pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()
            with Image.open(_Timed(data), formats=FORMATS) as image:
                return image.size
    except Exception:  # whatever is wrong with it is said where it is decoded
        return None


def _as_rgb(image: Image.Image, origin: str) -> Image.Image:
    """Any mode to RGB or RGBA."""
    if image.mode == "F":
        raise DataError(f"{origin}: pixels are floating-point numbers of unknown range; store it as 8 or 16 bits")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _of_wide_grey(image: Image.Image, bits: int, stretched: bool, origin: str) -> Image.Image:
    """Grey of more than 8 bits to RGB, or stretched; Pillow's own conversion clips at 255, which would make it white."""
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or (high >= 2**bits and not stretched):
        raise DataError(f"{origin}: grey values from {low} to {high} do not fit {bits} bits")
    if stretched:
        return Image.fromarray(((values - low) * (255 / max(high - low, 1))).astype(np.float32))
    return Image.fromarray((values * 255 // (2**bits - 1)).astype(np.uint8)).convert("RGB")
