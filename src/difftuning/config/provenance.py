"""Where a result came from: versions, machine, commit. No secrets, no user or host names, no paths."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

PACKAGES = (
    "difftuning",
    "torch",
    "diffusers",
    "accelerate",
    "safetensors",
    "datasets",
    "numpy",
    "pillow",
    "pydantic",
    "torchmetrics",
    "torch-fidelity",
)
"""The packages whose version can change a number."""


def versions() -> dict[str, str]:
    """Python's version and that of each of `PACKAGES` that is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def device() -> str:
    """The accelerator that torch would use by itself: a GPU's name, "mps" or "cpu"."""
    import torch  # heavy, and versions() and commit() do without it

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "mps" if torch.backends.mps.is_available() else "cpu"


def machine() -> dict[str, Any]:
    """What the numbers were measured on: system, CPU, cores that this process may use, memory in GiB, device."""
    process = psutil.Process()
    cores = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": cores,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device": device(),
    }


def commit() -> str | None:
    """The git commit of this package's own source, with `-dirty` when it was changed since; None when installed."""
    source = Path(__file__).resolve().parent
    # A virtual environment may lie inside somebody else's repository, whose commit says nothing about this package.
    if _git(source, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git(source, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def provenance() -> dict[str, Any]:
    """All of it, as it is saved in a run folder."""
    return {"versions": versions(), "machine": machine(), "commit": commit()}
