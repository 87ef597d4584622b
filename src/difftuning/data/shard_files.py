"""Which files a streamed set has, and what tells when one of them has changed: on disk, in object storage or on the hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fsspec  # type: ignore[import-untyped]
from datasets import load_dataset_builder
from datasets.data_files import SPLIT_KEYWORDS

from difftuning.errors import DataError, did_you_mean

TABLES = {".parquet": "parquet", ".arrow": "arrow"}
"""The suffixes of tables that can be read from beginning to end, and the loader that reads them."""
KINDS = (".tar", *TABLES)
_TIMES = ("ETag", "etag", "generation", "Last-Modified", "LastModified", "last_modified", "updated", "mtime")
"""Under which names storages tell that a file of the same size is another one; the first that is there counts."""
SPLITS = {word: str(split) for split, words in SPLIT_KEYWORDS.items() for word in words}
"""Words that name a split, such as `val` and `dev`, and the split."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file of a set.

    Attributes:
        key: changes when it has another address, size or time.
        size: in bytes; None where the storage does not tell.
    """

    key: str
    size: int | None


def listed(target: str, split: str, subset: str | None) -> tuple[dict[str, ShardFile], str]:
    """The files of a set by address, in order, and the kind that they are of.

    Args:
        target: a folder, a file, a pattern (`s3://bucket/train-*.tar`), or OWNER/NAME of the hub.
        split: of a hub data set, and of a folder whose names tell splits (train-000.tar, test/000.tar), as `datasets` has it.
        subset: the configuration of a hub data set that has several.

    Raises:
        DataError: nothing is there, or files of several kinds, or the storage cannot be reached.
    """
    try:
        found = _stored(target, split) or _on_hub(target, split, subset)
    except DataError:
        raise
    except Exception as reason:  # each storage has errors of its own kinds
        raise DataError(
            f"data.target {target!r} cannot be listed ({type(reason).__name__}: {first_line(reason)}); is the address right, "
            "and can it be reached from here?"
        ) from reason
    kinds = {kind for kind in map(_kind, found) if kind}
    if len(kinds) != 1:
        state = "files of several kinds" if kinds else f"no file ending in {', '.join(KINDS)}"
        raise DataError(f"data.target {target!r} has {state}; name a pattern of one kind, such as {target}/*.tar")
    kind = kinds.pop()
    return {file: one for file, one in found.items() if _kind(file) == kind}, kind


def _kind(file: str) -> str | None:
    return next((kind for kind in KINDS if file.partition("?")[0].lower().endswith(kind)), None)


def _stored(target: str, split: str) -> dict[str, ShardFile]:
    """The files at a path, an address or a pattern; none where there is no such place."""
    storage, path = fsspec.core.url_to_fs(target)
    pattern = "*" in path
    found = storage.glob(path, detail=True) if pattern else storage.find(path, detail=True)
    names = sorted(name for name in found if _kind(name) and not name.rpartition("/")[2].startswith("cache-"))
    if not pattern:
        names = _of_split(names, path, split, target)
    return {(address := storage.unstrip_protocol(one)): _file(address, found[one], storage, one) for one in names}


def _of_split(names: list[str], folder: str, split: str, target: str) -> list[str]:
    """Those of a split, where what comes after the folder names one."""
    splits = {name: _split(name.removeprefix(folder)) for name in names}
    there = {one for one in splits.values() if one}
    if not there:
        return names
    if split not in there or None in splits.values():
        state = f"names the splits {', '.join(sorted(there))}" + (" and files of none" * (None in splits.values()))
        raise DataError(
            f"data.target {target!r} {state}, and data.split is {split!r}; set data.split, or name a pattern of files"
        )
    return [name for name in names if splits[name] == split]


def _split(name: str) -> str | None:
    words = re.split(r"[-._ /\d]+", name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def _file(address: str, info: Mapping[str, Any], storage: Any, path: str) -> ShardFile:
    if info.get("size") is None or not any(name in info for name in _TIMES):
        info = storage.info(path)  # a listing that does not tell
    time = next((info[name] for name in _TIMES if info.get(name)), None)
    return ShardFile(_key(address, info.get("size"), str(time)), info.get("size"))


def _on_hub(target: str, split: str, subset: str | None) -> dict[str, ShardFile]:
    owner, _, name = target.partition("/")
    if not owner or not name or "/" in name or "://" in target or owner in (".", "~"):
        raise DataError(f"data.target {target!r} is no path, address or pattern of files ending in {', '.join(KINDS)}")
    files: Any = load_dataset_builder(target, subset).config.data_files
    if split not in files:
        raise DataError(f"the data set {target!r} has no split {split!r}{did_you_mean(split, map(str, files))}")
    # An address of the hub names its revision, which tells of every change.
    return {str(file): ShardFile(_key(str(file)), None) for file in files[split]}


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def first_line(reason: Exception) -> str:
    """Of what an error of some library says."""
    return (str(reason).splitlines() or [""])[0]
