"""`convert`: published weights of Karras et al. 2022 (EDM) or Peebles & Xie 2023 (DiT) to a model folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from difftuning.atomic import aside_of
from difftuning.errors import ConfigError, ModelError


def convert(path: Path, out: Path, vae: Path | None = None, heads: int | None = None) -> dict[str, Any]:
    """Read a file of published weights, running nothing of it, and write the folder that `difftuning.load` reads.

    Args:
        path: an `edm-*.pkl` or `network-snapshot-*.pkl` of EDM, or a `.pt` of DiT; which it is, its content tells.
        out: the folder, which must not exist; it is written aside and renamed, so it is whole or not there.
        vae: the folder of the autoencoder that a DiT on latents was trained with; without it the latents are its images.
        heads: attention heads of a DiT whose width is none of the published.

    Returns:
        `model`, the folder; `family`; `network`, its class; `parameters`; `sample`, the shape of one; `classes`.

    Raises:
        ConfigError: the folder exists already or cannot be made, or an option does not fit the file.
        ModelError: the file or the autoencoder cannot be read, or is of a kind that is not supported.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; name a new folder, or move the old one away")
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    if heads is not None and heads < 1:
        raise ConfigError(f"heads={heads} is no number of attention heads; leave it out for a published width")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise ConfigError(f"{out.parent} cannot be made ({reason.strerror}); name a folder elsewhere") from reason
    aside = aside_of(out)
    try:
        result = _dit(path, aside, vae, heads) if is_torch_file(path) else _edm(path, aside, vae, heads)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return {"model": str(out), **result}


def is_torch_file(path: Path) -> bool:
    """Whether a file is one of `torch.save` (a zip file, or the older form, which begins with its magic number)."""
    with path.open("rb") as file:
        begin = file.read(14)
    return begin[:2] == b"PK" or begin[2:4] == b"\x8a\x0a"


def _edm(path: Path, folder: Path, vae: Path | None, heads: int | None) -> dict[str, Any]:
    if vae is not None or heads is not None:
        raise ConfigError(
            f"{path} is a pickle of EDM, which works on pixels and has its heads; leave --vae and --heads out"
        )
    from difftuning.backbones.convert_edm import edm_network, save_edm
    from difftuning.backbones.tensor_unpickler import read_pickle

    try:
        network, scheduler = edm_network(read_pickle(path))
    except ModelError as reason:
        raise ModelError(str(reason) if str(path) in str(reason) else f"{path}: {reason}") from reason
    save_edm(network, scheduler, folder)
    return _told("EDM", network)


def _dit(path: Path, folder: Path, vae: Path | None, heads: int | None) -> dict[str, Any]:
    from difftuning.backbones.convert_dit import dit_network, read_autoencoder, read_dit
    from difftuning.backbones.dit import DiT

    try:
        network, scheduler = dit_network(read_dit(path), heads)
    except ModelError as reason:
        raise ModelError(str(reason) if str(path) in str(reason) else f"{path}: {reason}") from reason
    result = _told("DiT", network)
    DiT(network, scheduler, None if vae is None else read_autoencoder(vae), name=path.name).save(folder)
    return result


def _told(family: str, network: Any) -> dict[str, Any]:
    config = network.config
    classes = config.num_classes if family == "EDM" else config.num_embeds_ada_norm
    return {
        "family": family,
        "network": type(network).__name__,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "sample": f"{config.in_channels}x{config.sample_size}x{config.sample_size}",
        "classes": classes,
    }
