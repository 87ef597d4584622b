"""Load any supported model by zoo name, folder or hub name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from difftuning.backbones import controlnet, text_families
from difftuning.backbones.base import Backbone
from difftuning.backbones.class_unet import load_class_unet
from difftuning.backbones.dit import load_dit
from difftuning.backbones.folder import read_index
from difftuning.backbones.text_to_image import load_text_to_image
from difftuning.errors import ModelError, did_you_mean

KINDS: dict[str, Callable[[Path, str], Backbone]] = {
    "DiTPipeline": load_dit,
    "DDPMPipeline": load_class_unet,
    "DDIMPipeline": load_class_unet,
    "EDMPipeline": load_class_unet,
    **dict.fromkeys(text_families.KINDS, load_text_to_image),
    **dict.fromkeys(controlnet.PIPELINES.values(), partial(load_text_to_image, made=controlnet.Controlled)),
}
"""diffusers' pipeline class, as `model_index.json` names it, to the function that loads its folder."""

ZOO = Path(__file__).parent.parent / "zoo"
SOURCE_TREE = (
    "dit-photo-16",
    "dit-photo-16-longer",
    "dit-photo-16-small",
    "dit-photo-32",
    "edm-icons-32",
    "edm-photo-16",
    "flow-icons-32",
    "sd-photo-32",
)
"""Zoo models that the wheel leaves out, so that it stays small."""
SINGLE = (".safetensors", ".ckpt")
"""Suffixes of files that hold a whole pipeline without saying of which class."""


def zoo_names() -> tuple[str, ...]:
    """The models shipped in the package."""
    return tuple(sorted(index.parent.name for index in ZOO.glob("*/model_index.json")))


def _locate(name_or_path: str) -> Path:
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if name_or_path in zoo_names():
        return ZOO / name_or_path
    if name_or_path in SOURCE_TREE:
        raise ModelError(f"{name_or_path} comes with the source tree only; clone it and run there, or use its folder")
    if folder.suffix.lower() in SINGLE:
        there = "is one file" if folder.is_file() else "is not there, and would be one file"
        made = folder.with_suffix("")
        raise ModelError(
            f"model {name_or_path!r} {there} of weights, and what is read is a folder; make one in Python by diffusers' "
            f"StableDiffusionXLPipeline.from_single_file({str(folder)!r}).save_pretrained({str(made)!r}), or by the pipeline "
            f"of its own family, then set model={made}"
        )
    if name_or_path.count("/") != 1 or folder.is_absolute() or name_or_path.startswith("."):
        raise ModelError(
            f"there is no model {name_or_path!r} in the zoo or as a folder{did_you_mean(name_or_path, zoo_names())}"
        )
    from diffusers import DiffusionPipeline  # reaches for the hub, so only when a hub name is asked for

    try:
        return Path(DiffusionPipeline.download(name_or_path))
    except Exception as reason:
        raise ModelError(refusal(name_or_path, reason)) from reason


def refusal(name: str, reason: BaseException) -> str:
    """Why the hub did not give a model, and what to do; diffusers may have put an error of its own around that of the hub."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    said: BaseException | None = reason
    while said is not None and not isinstance(said, HfHubHTTPError):
        said = said.__cause__ or said.__context__
    if said is not None and (isinstance(said, GatedRepoError) or said.response.status_code in (401, 403)):
        # Of a model that it does not have it says the same to those who are not logged in.
        gated = (
            "has a licence" if isinstance(said, GatedRepoError) else "may have a licence, be private or not be there"
        )
        return (
            f"the hub gives the model {name!r} to nobody unknown ({said.response.status_code}): it {gated}; accept the licence on "
            f"its page, https://huggingface.co/{name}, then run `hf auth login`"
        )
    return (
        f"model {name!r} is no folder, and the hub did not give it ({type(reason).__name__}); "
        f"check the name and the network, or use a folder or one of the zoo: {', '.join(zoo_names())}"
    )


def load(name_or_path: str) -> Backbone:
    """Load a pretrained model.

    Args:
        name_or_path: a zoo name ("dit-icons-32"), a pipeline folder, or a hub name ("facebook/DiT-XL-2-256").

    Raises:
        ModelError: nothing is there, or its pipeline class is not supported.
    """
    folder = _locate(name_or_path)
    kind = str(read_index(folder, name_or_path).get("_class_name", ""))
    if kind not in KINDS:
        raise ModelError(f"{name_or_path!r} is a {kind!r}, which is not supported{did_you_mean(kind, KINDS)}")
    return KINDS[kind](folder, name_or_path)
