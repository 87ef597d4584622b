"""Tar files in the layout of webdataset: the members of a sample follow each other and share a name, KEY.png, KEY.cls, KEY.txt."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from PIL import Image

from difftuning.data.hub import caption_of
from difftuning.errors import DataError

Sample = dict[str, bytes | str]
"""Field -> content."""
MOST_BYTES = 2**28
"""Of a member; larger ones are refused before they are read."""
MOST_FIELDS = 64
"""Of a sample."""
MOST_ZEROS = 2**22
"""Behind the end; more are a download that never came."""


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


def samples(stream: IO[bytes]) -> Iterator[Sample]:
    """The samples of a tar, in order; the entries of a field `json` are fields too.

    Args:
        stream: read from beginning to end, never back.

    Raises:
        DataError: a member is too large or a link, or too many share a name.
        tarfile.TarError: it is no tar, damaged, or ends too early.
    """
    key = ""
    sample: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Whole) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep all
            folder, _, name = member.name.rpartition("/")
            stem, _, field = name.partition(".")
            if member.issym() or member.islnk():
                raise DataError(
                    f"{member.name} is a link, and only files are read; write the files (tar --dereference)"
                )
            if not (member.isreg() and stem and field):  # a folder, a hidden file
                continue
            if member.size > MOST_BYTES:
                raise DataError(f"{member.name} has {member.size} bytes, more than {MOST_BYTES}; take it out")
            if sample and f"{folder}/{stem}" != key:
                yield _with_entries(sample)
                sample = {}
            key = f"{folder}/{stem}"
            content = tar.extractfile(member)
            assert content is not None
            sample[field.lower()] = content.read()
            if len(sample) > MOST_FIELDS:
                raise DataError(
                    f"more than {MOST_FIELDS} files share the name {stem}; what comes before the first dot tells samples apart"
                )
        _check_end(tar.fileobj)
    if sample:
        yield _with_entries(sample)


def _check_end(stream: Any) -> None:
    """One block of zeros counts as the end, also where it took the place of a header: see that nothing comes behind it."""
    zeros = 0
    while (chunk := stream.read(2**16)) and zeros < MOST_ZEROS:
        zeros += len(chunk)
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("there is more behind its end; it is damaged, or several were joined")
    if chunk:
        raise tarfile.ReadError("it is full of zeros behind its end; it was not fetched to its end")


def _with_entries(sample: dict[str, bytes]) -> Sample:
    try:
        found = json.loads(sample.get("json", b"{}"))
    except (ValueError, RecursionError):
        found = {}
    entries = found.items() if isinstance(found, dict) else ()
    told = {str(name): _told(value) for name, value in entries if isinstance(value, str | int | float | list | None)}
    return {**told, **sample}


def _told(value: Any) -> str:
    """An entry as text; of a list the first text."""
    if isinstance(value, list):
        value = caption_of(value)
    if isinstance(value, float):  # so tables write integers beside missing ones, and NaN for these
        value = int(value) if value.is_integer() else None
    return "" if value is None else str(value)


def is_picture(field: str) -> bool:
    """Whether a field holds pictures, by the end of its name."""
    return f".{field.rpartition('.')[2]}" in Image.registered_extensions()
