"""Tar files in the layout of webdataset: the members of a sample follow each other and share a name, KEY.png, KEY.cls, KEY.txt."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from PIL import Image

from difftuning.errors import DataError

MOST_BYTES = 2**28
"""Of a member; larger ones are refused before they are read."""


class _Whole(tarfile.TarInfo):
    """A header that is broken or missing is an error; `tarfile` takes it for the end, and loses in silence what comes after it."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Whole:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as reason:
            if type(reason).__name__ == "EOFHeaderError":  # the marker at the end
                raise
            raise tarfile.ReadError(f"{reason}; it ends too early or is damaged") from reason


def samples(stream: IO[bytes]) -> Iterator[dict[str, bytes | str]]:
    """The samples of a tar, each as field -> content, in order; the entries of a field `json` are fields too.

    Args:
        stream: read from beginning to end, never back.

    Raises:
        DataError: a member is too large.
        tarfile.TarError: it is no tar, damaged, or ends too early.
    """
    key = ""
    sample: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Whole) as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            stem, _, field = name.partition(".")
            content = tar.extractfile(member) if stem and field else None
            if content is None:  # a folder, a link, a hidden file
                continue
            if member.size > MOST_BYTES:
                raise DataError(f"{member.name} has {member.size} bytes, more than {MOST_BYTES}; take it out")
            if sample and f"{folder}/{stem}" != key:
                yield _with_entries(sample)
                sample = {}
            key = f"{folder}/{stem}"
            sample[field.lower()] = content.read()
    if sample:
        yield _with_entries(sample)


def _with_entries(sample: dict[str, bytes]) -> dict[str, bytes | str]:
    try:
        found = json.loads(sample.get("json", b"{}"))
    except (ValueError, RecursionError):
        found = {}
    entries = found.items() if isinstance(found, dict) else ()
    return {**{str(name): str(value) for name, value in entries if isinstance(value, str | int)}, **sample}


def is_picture(field: str) -> bool:
    """Whether a field holds pictures, by the end of its name."""
    return f".{field.rpartition('.')[2]}" in Image.registered_extensions()
