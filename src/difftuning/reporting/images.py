"""Images as PNG data: sheets of small pictures, their pixels enlarged as squares so that an icon stays crisp."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

INK = "#85858c"
"""Of labels on a transparent ground: a grey that reads on white and on black."""


def at_size(images: Tensor, side: int = 128) -> Tensor:
    """Images of about `side` pixels: small ones enlarged by whole pixels, large ones averaged down.

    Args:
        images: (N, 3, H, W) uint8.
        side: the larger one of height and width, at most; half of it at least.
    """
    size = max(images.shape[-2:])
    if size > side:
        small = [round(edge * side / size) for edge in images.shape[-2:]]
        means = F.interpolate(images.float(), size=small, mode="bicubic", antialias=True)
        return means.round().clamp(0, 255).to(torch.uint8)
    return images.repeat_interleave(side // size, -1).repeat_interleave(side // size, -2)


def page_grid(images: Tensor, columns: int, side: int = 128) -> bytes:
    """(N, 3, H, W) uint8 as a page shows them: about `side` pixels each, a little apart."""
    return image_grid(at_size(images, side), columns, scale=1, gap=4)


def page_strip(strip: Tensor, shares: Sequence[float], side: int = 128) -> bytes:
    """The denoiser swap (seeds, shares, 3, H, W) uint8 as a page shows it."""
    return image_strip(torch.stack([at_size(row, side) for row in strip]), shares, scale=1, gap=4)


def image_grid(images: Tensor, columns: int, scale: int = 4, gap: int = 1) -> bytes:
    """(N, 3, H, W) uint8 as one PNG, row by row; `gap` is in pixels before enlarging, and transparent."""
    return as_png(_sheet(images, columns, scale, gap), optimize=True)


def image_strip(images: Tensor, shares: Sequence[float], scale: int = 4, gap: int = 1) -> bytes:
    """The denoiser swap as pictures: a row is one seed, a column one share of the steps.

    Args:
        images: (seeds, shares, 3, H, W) uint8.
        shares: 0 to 1, one a column; printed above it in percent.
        scale: screen pixels a pixel.
        gap: between pictures, in pixels before enlarging.
    """
    if images.shape[1] != len(shares):
        raise ValueError(f"a strip of {images.shape[1]} columns needs as many shares, not {len(shares)}")
    sheet = _sheet(images.flatten(0, 1), len(shares), scale, gap)
    step = (images.shape[-1] + gap) * scale
    size = max(8.0, min(22.0, step / 6))
    font = ImageFont.load_default(size)
    head = round(1.6 * size)
    page = Image.new("RGBA", (sheet.width, sheet.height + head))
    page.paste(sheet, (0, head))
    pen = ImageDraw.Draw(page)
    for column, share in enumerate(shares):
        middle = column * step + images.shape[-1] * scale / 2
        pen.text((middle, head / 2), f"{100 * share:g} %", fill=INK, font=font, anchor="mm")
    return as_png(page, optimize=True)


def _sheet(images: Tensor, columns: int, scale: int, gap: int) -> Image.Image:
    lines = -(-len(images) // columns)
    height, width = images.shape[-2:]
    sheet = Image.new("RGBA", (columns * (width + gap) - gap, lines * (height + gap) - gap))
    for index, image in enumerate(images):
        place = (index % columns * (width + gap), index // columns * (height + gap))
        sheet.paste(Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy()), place)
    return sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)


def as_png(image: Image.Image, optimize: bool = False) -> bytes:
    """An image as the bytes of a PNG file; as small as it gets, which takes longer, with `optimize`."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=optimize)
    return out.getvalue()
