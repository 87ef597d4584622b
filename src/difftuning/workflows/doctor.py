"""`doctor`: whether this machine can run difftuning, with a mend beside everything that is wrong."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]
import torch
from packaging.requirements import Requirement

from difftuning.backbones.loading import zoo_names
from difftuning.config.precision import native_bf16
from difftuning.config.provenance import device, versions
from difftuning.data.cache import cache_folder

MEMORY_GIB = 2.0
"""Free memory below which the demo may not fit."""
DISK_GIB = 2.0
"""Free disk below which a run with its checkpoints may not fit."""
SHOWN = 5
"""Models in the hub's cache that are named."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        state: "ok", "warn" (it works, with a limit) or "fail".
        value: what was found.
        mend: what to do about it; empty when nothing is to be done.
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    value: str
    mend: str = ""


def doctor(hub: bool) -> dict[str, Any]:
    """Look at versions, devices, memory, disk and weights.

    Args:
        hub: also try to reach the model hub; nothing is sent there otherwise.

    Returns:
        `{"ok": no check failed, "versions": {...}, "checks": [{"name", "state", "value", "mend"}, ...]}`.
    """
    checks = [*_packages(), *_devices(), _memory(), *_disks(), _weights()]
    if hub:
        checks.append(_hub())
    return {
        "ok": all(check.state != "fail" for check in checks),
        "versions": versions(),
        "checks": [asdict(check) for check in checks],
    }


def _packages() -> list[Check]:
    """One check of all required packages, or one for each that is missing or of a version outside what is tested."""
    wrong = []
    required = [Requirement(text) for text in metadata.requires("difftuning") or []]
    needed = [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in needed:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            wrong.append(Check(one.name, "fail", "missing", f"pip install '{one}'"))
            continue
        if not one.specifier.contains(version, prereleases=True):
            wrong.append(Check(one.name, "fail", f"{version}, tested with {one.specifier}", f"pip install '{one}'"))
    return wrong or [Check("packages", "ok", f"all {len(needed)} present")]


def _devices() -> list[Check]:
    name = device()
    if name == "cpu":
        threads = torch.get_num_threads()
        found = Check("device", "ok", f"cpu, {threads} threads; models of the zoo's size train well on it")
        emulated = Check("bf16", "warn", "emulated", "keep precision at no or auto: bf16 is many times slower here")
        return [found, Check("bf16", "ok", "native") if native_bf16() else emulated]
    if not torch.cuda.is_available():
        return [Check("device", "ok", name)]
    free, total = torch.cuda.mem_get_info()
    value = f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if free < MEMORY_GIB * 2**30:
        return [Check("device", "warn", value, "end what else uses this GPU, or hide it with CUDA_VISIBLE_DEVICES=")]
    return [Check("device", "ok", value)]


def _memory() -> Check:
    found = psutil.virtual_memory()
    value = f"{found.available / 2**30:.1f} of {found.total / 2**30:.1f} GiB free"
    if found.available < MEMORY_GIB * 2**30:
        return Check("memory", "warn", value, "close other programs, or lower training.batch_size")
    return Check("memory", "ok", value)


def _disks() -> list[Check]:
    """Where runs go, and where latents and embeddings are kept."""
    found = []
    for name, folder, mend in (
        ("disk", Path.cwd(), "set `out` to a folder on another disk"),
        ("cache", cache_folder(), "set DIFFTUNING_CACHE to a folder on another disk"),
    ):
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        free = shutil.disk_usage(there).free
        value = f"{free / 2**30:.1f} GiB free {'in the current folder' if name == 'disk' else f'at {folder}'}"
        if free < DISK_GIB * 2**30:
            found.append(Check(name, "warn", value, f"free some space, or {mend}"))
        else:
            found.append(Check(name, "ok", value))
    return found


def _weights() -> Check:
    names = zoo_names()
    if not names:
        return Check(
            "weights", "fail", "the zoo is empty", "install difftuning again; its wheel holds the zoo's weights"
        )
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = sorted(repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model")
    except CacheNotFound:
        cached = []
    more = f", and {len(cached) - SHOWN} more" if len(cached) > SHOWN else ""
    hub = f"; from the hub: {', '.join(cached[:SHOWN])}{more}" if cached else "; from the hub: none yet"
    return Check("weights", "ok", f"zoo: {', '.join(names)}{hub}")


def _hub() -> Check:
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=10):
            return Check("hub", "ok", "reached")
    except urllib.error.HTTPError as reason:  # it answered, if only with an error
        if reason.code < 500:
            return Check("hub", "ok", f"answered {reason.code}", "")
        mend = "wait and try again, use zoo models or folders, or set HF_ENDPOINT to another address"
        return Check("hub", "warn", f"answered {reason.code}", mend)
    except (OSError, ValueError) as reason:
        return Check("hub", "warn", f"not reached ({reason})", "use zoo models or folders, or check network and proxy")
