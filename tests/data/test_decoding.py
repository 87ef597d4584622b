from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difftuning.data.decoding import decode
from difftuning.data.transforms import Transform
from difftuning.errors import DataError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def grey(image: Image.Image) -> float:
    return float(Transform(8)(image).mean())


def test_jpeg_palette_and_grey_become_rgb() -> None:
    red = Image.new("RGB", (20, 10), (255, 0, 0))
    for data in (encoded(red, "JPEG", quality=95), encoded(red.convert("P")), encoded(red, "WEBP", lossless=True)):
        found = Transform(8)(decode(data, "a", 1000))
        assert found.shape == (3, 8, 8)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found[:, 4, 4], torch.tensor([1.0, -1.0, -1.0]), atol=0.03, rtol=0)


def test_cmyk_shows_its_colours() -> None:
    cyan = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    found = Transform(4)(decode(cyan, "a", 1000)).mean((1, 2))
    assert found[0] < -0.8
    assert float(found[1:].min()) > 0.2


def test_transparent_is_white_and_half_transparent_is_mixed() -> None:
    assert grey(decode(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0))), "a", 1000)) == 1
    assert grey(decode(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128))), "a", 1000)) == pytest.approx(0, abs=0.01)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert grey(decode(encoded(palette, transparency=0), "a", 1000)) == 1


def test_16_bit_grey_keeps_its_range() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    picture = decode(encoded(Image.fromarray(values)), "a", 1000)
    found = np.asarray(picture)[..., 0]
    assert np.abs(found.astype(float) - values / 257).max() <= 1
    assert len(np.unique(found)) > 60


def test_grey_can_be_stretched_over_its_own_range_without_losing_a_step() -> None:
    millimetres = np.linspace(500, 4500, 4096).astype(np.uint16).reshape(64, 64)
    found = np.asarray(decode(encoded(Image.fromarray(millimetres)), "a", 10000, stretched=True))
    np.testing.assert_allclose(found, (millimetres - 500.0) * 255 / 4000, atol=1e-4)
    flat = decode(encoded(Image.fromarray(np.full((8, 8), 700, np.uint16))), "a", 1000, stretched=True)
    assert flat.getextrema() == (0, 0)
    assert decode(encoded(Image.new("L", (8, 8), 7)), "a", 1000, stretched=True).getextrema() == ((7, 7),) * 3


def test_of_12_bits_the_highest_value_is_white() -> None:
    def entry(tag: int, kind: int, value: int) -> bytes:
        return struct.pack("<HHI", tag, kind, 1) + struct.pack("<HH" if kind == 3 else "<I", *(value, 0)[: 5 - kind])

    white = b"\xff" * 12  # 4x2 pixels
    tags = {256: 4, 257: 2, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: len(white)}
    entries = b"".join(entry(tag, 4 if tag in (273, 279) else 3, value) for tag, value in tags.items())
    file = b"II*\0" + struct.pack("<I", 8 + len(white)) + white + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert decode(file, "a", 1000).getextrema() == ((255, 255),) * 3


def test_16_bit_grey_in_a_file_of_32_bits() -> None:
    values = np.linspace(0, 65535, 64).astype(np.int32).reshape(8, 8)
    assert decode(encoded(Image.fromarray(values), "TIFF"), "a", 1000).getextrema() == ((0, 255),) * 3
    large = encoded(Image.fromarray(10 * values), "TIFF")
    with pytest.raises(DataError, match="do not fit 16 bits"):
        decode(large, "a", 1000)
    assert decode(large, "a", 1000, stretched=True).getextrema() == (0, 255)


def test_a_limit_above_that_of_pillow_is_the_one_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    large = encoded(Image.new("L", (200, 200), 255))
    with pytest.raises(
        DataError, match=r"a: Image size \(40000 pixels\) exceeds limit of 2000 .*; raise data\.max_pixels"
    ):
        decode(large, "a", 1000)
    assert decode(large, "a", 40_000).size == (200, 200)


def test_the_camera_s_orientation_is_applied() -> None:
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    assert decode(encoded(image, "JPEG", exif=exif), "a", 1000).size == (10, 20)


def test_what_is_no_usable_image_says_why() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    whole = encoded(noise)
    for data, reason in (
        (b"", "empty"),
        (b"I am a text", "not an image"),
        (whole[: len(whole) // 2], "truncated or damaged"),
        (encoded(noise, "JPEG")[:700], "truncated or damaged"),
        (whole[:400] + bytes(200) + whole[600:], "truncated or damaged"),
    ):
        with pytest.raises(DataError, match=f"a.png: .*{reason}"):
            decode(data, "a.png", 10_000)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = encoded(Image.new("1", (30_000, 30_000)))
    assert len(bomb) < 300_000
    with pytest.raises(DataError, match="bomb"):
        decode(bomb, "b.png", 2**26)
    with pytest.raises(DataError, match=r"b.png: 200x200 pixels exceed the limit of 1000; raise data.max_pixels"):
        decode(encoded(Image.new("RGB", (200, 200))), "b.png", 1000)


def test_the_central_square_of_any_shape(tmp_path: Path) -> None:
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste("white", (10, 0, 20, 10))
    assert float(Transform(10)(wide).min()) == 1
    assert Transform(16)(Image.new("RGB", (1, 300))).shape == (3, 16, 16)
