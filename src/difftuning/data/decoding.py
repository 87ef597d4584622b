"""Bytes to a picture, or to a reason why not."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from difftuning.errors import DataError


def decode(data: bytes, origin: str, max_pixels: int) -> Image.Image:
    """Decode any image that Pillow knows to RGB, or to RGBA where something is transparent.

    The first frame of an animation is taken and the camera's orientation is applied. 16-bit grey keeps its whole range.

    Args:
        data: the content of the file.
        origin: named in messages.
        max_pixels: larger images are refused before a pixel is decoded.

    Raises:
        DataError: it is empty, not an image, truncated, damaged, too large, or of unbounded values.
    """
    if not data:
        raise DataError(f"{origin}: the file is empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; our own limit, checked below, decides instead.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        if image.width * image.height > max_pixels:
            raise DataError(
                f"{origin}: {image.width}x{image.height} pixels exceed the limit of {max_pixels}; raise data.max_pixels"
            )
        image.load()
        return _as_rgb(ImageOps.exif_transpose(image), origin)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{origin}: not an image that Pillow knows") from None
    except Image.DecompressionBombError as reason:
        raise DataError(f"{origin}: {reason}") from reason
    except Exception as reason:  # Pillow's decoders answer damaged data with a dozen kinds of exceptions
        raise DataError(f"{origin}: truncated or damaged ({reason})") from reason


def _as_rgb(image: Image.Image, origin: str) -> Image.Image:
    """Any mode to RGB or RGBA."""
    if image.mode == "F":
        raise DataError(f"{origin}: pixels are floating-point numbers of unknown range; store it as 8 or 16 bits")
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255, which would make every 16-bit picture white.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{origin}: grey values from {values.min()} to {values.max()} do not fit 16 bits")
        return Image.fromarray((values // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")
