"""The published networks of Karras et al. 2022 (EDM), from the records of their pickles."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import diffusers
from torch import Tensor, cat, zeros

from difftuning.backbones.edm_unet import EDMUNet
from difftuning.backbones.pickle_machine import Record
from difftuning.backbones.weights import put
from difftuning.errors import ModelError

KINDS = {"SongUNet": "ddpmpp", "DhariwalUNet": "adm"}
"""Class of a published network to the kind of an `EDMUNet`."""
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
"""Noise levels that are sampled (Table 1 of the paper); the published networks themselves have no bounds."""
MODULES = 100_000
"""Of a network; a file may name one module in many places."""


def edm_network(content: Any) -> tuple[Any, Any]:
    """Network and scheduler from what `read_pickle` found.

    Args:
        content: a dict whose `ema` is the record of an `EDMPrecond`.

    Returns:
        An `EDMUNet` and an `EDMEulerScheduler`.

    Raises:
        ModelError: it is another class, an NCSN++, or its weights do not fit.
    """
    ema = content.get("ema") if isinstance(content, dict) else None
    if not isinstance(ema, Record):
        raise ModelError("the pickle has no network under `ema`; give an edm-*.pkl or a network-snapshot-*.pkl")
    if ema.kind != "EDMPrecond":
        raise ModelError(f"the network is wrapped in a {ema.kind[:80]!r}; only EDMPrecond is supported")
    modules = ema.state.get("_modules")
    network = modules.get("model") if isinstance(modules, dict) else None
    if not isinstance(network, Record) or network.kind not in KINDS:
        kind = network.kind[:80] if isinstance(network, Record) else type(network).__name__
        raise ModelError(f"the network is a {kind!r}; only {' and '.join(KINDS)} are supported")
    side, channels = (_whole(ema.state, name) for name in ("img_resolution", "img_channels"))
    classes = _whole(ema.state, "label_dim", least=0)
    weights, sizes = _translated(named_tensors(network), KINDS[network.kind], side, classes)
    config = {
        "sample_size": side,
        "in_channels": channels,
        "out_channels": channels,
        "num_classes": classes,
        "kind": KINDS[network.kind],
        "dropout": _dropout(network),
        **sizes,
    }
    return put(EDMUNet, config, weights, f"the {network.kind}"), _scheduler(ema.state)


def named_tensors(record: Record) -> dict[str, Tensor]:
    """The parameters and buffers of a recorded module and all below it, under their dotted names.

    Raises:
        ModelError: it is no module, or has too many parts.
    """
    found: dict[str, Tensor] = {}
    todo: list[tuple[str, Any]] = [("", record)]
    for count in range(MODULES):
        if not todo:
            return found
        prefix, module = todo.pop()
        if not isinstance(module, Record) or len(prefix) > 200:
            raise ModelError(f"{prefix[:200] or 'the network'} is no module but a {type(module).__name__}")
        for part in ("_parameters", "_buffers"):
            for name, value in _items(module, part, prefix):
                if isinstance(value, Tensor):
                    found[prefix + name] = value
                elif value is not None:
                    raise ModelError(f"{prefix}{name} is no tensor but a {type(value).__name__}")
        todo += [(f"{prefix}{name}.", inner) for name, inner in _items(module, "_modules", prefix) if inner is not None]
        if len(todo) + count > MODULES:
            break
    raise ModelError(f"the network has more than {MODULES} modules; it is none of the published")


def _items(module: Record, part: str, prefix: str) -> list[tuple[str, Any]]:
    held = module.state.get(part)
    if not isinstance(held, dict) or not all(isinstance(name, str) for name in held):
        raise ModelError(f"{prefix or 'the network'} ({module.kind[:80]}) has no {part}, as modules of torch have")
    return list(held.items())


def _whole(state: dict[str, Any], name: str, least: int = 1) -> int:
    value = state.get(name)
    if type(value) is not int or value < least:
        raise ModelError(
            f"{name} of the network is {str(value)[:40] if isinstance(value, str | int | float) else type(value).__name__}"
        )
    return value


def _number(state: dict[str, Any], name: str) -> float:
    value = state.get(name)
    if not isinstance(value, int | float) or math.isnan(value) or value < 0:
        raise ModelError(f"{name} of the network is no number from 0 up")
    return float(value)


def _dropout(network: Record) -> float:
    """As it was trained with; its blocks tell too, but under no name that all files share."""
    given = network.state.get("_init_kwargs")
    value = given.get("dropout", 0.0) if isinstance(given, dict) else 0.0
    return float(value) if isinstance(value, int | float) and 0 <= value < 1 else 0.0


def _scheduler(state: dict[str, Any]) -> Any:
    made: Any = diffusers.EDMEulerScheduler
    return made(
        sigma_min=max(SIGMA_MIN, _number(state, "sigma_min")),
        sigma_max=min(SIGMA_MAX, _number(state, "sigma_max")),
        sigma_data=_number(state, "sigma_data"),
    )


def _translated(
    published: dict[str, Tensor], kind: str, side: int, classes: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights under our names, and the sizes that they tell."""
    if "map_noise.freqs" in published or any("aux_residual" in name for name in published):
        raise ModelError(
            "the network is an NCSN++ (a `ve` file); of Karras et al. only DDPM++ (`vp`) and ADM are supported"
        )
    weights = {}
    for name, value in published.items():
        if name.endswith("resample_filter"):
            if tuple(value.shape[-2:]) != (2, 2) or (value != value.flatten()[0]).any():
                raise ModelError(f"{name} is not the mean of 2 by 2 pixels; only resample_filter=[1, 1] is supported")
        elif name not in ("map_label.weight", "map_label.bias", "map_augment.weight"):
            # A network asked without augmentation gets zeros there, to which its weights add nothing.
            weights[name.replace(f"dec.{side}x{side}_aux_", "out_")] = value
    sizes = _sizes(weights, side)
    if classes:
        weights["class_embedding.weight"] = _class_table(published, kind, classes)
    elif "map_label.weight" in published:
        weights["map_label.weight"] = published["map_label.weight"]  # reported as left over
    return weights, sizes


def _class_table(published: dict[str, Tensor], kind: str, classes: int) -> Tensor:
    """(classes + 1, E): what a one-hot vector comes to in the original's linear layer, and in the last row a vector of zeros.

    DDPM++ scales the vector by sqrt(classes), and its layer has a bias; ADM does neither.
    """
    weight = published.get("map_label.weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] != classes:
        raise ModelError(f"map_label.weight does not fit {classes} classes; it is missing or of another shape")
    bias = published.get("map_label.bias", zeros(weight.shape[0]))
    rows = weight.float().T * (math.sqrt(classes) if kind == "ddpmpp" else 1.0)
    return cat([rows, zeros(1, rows.shape[1])]) + bias.float()


def _sizes(weights: dict[str, Tensor], side: int) -> dict[str, Any]:
    """What the names and shapes of the encoder tell: width, levels, blocks of a level and where it attends."""
    first = weights.get(f"enc.{side}x{side}_conv.weight")
    blocks = [found for name in weights if (found := re.fullmatch(r"enc\.(\d{1,6})x\1_block\d+\.conv1\.weight", name))]
    if first is None or not blocks:
        raise ModelError(f"the network has no encoder for images of side {side}, by the names of its weights")
    width = int(first.shape[0])
    counts = Counter(int(found[1]) for found in blocks)
    sides = sorted(counts, reverse=True)
    channels = {int(found[1]): int(weights[found[0]].shape[0]) for found in blocks}
    if sides != [side >> level for level in range(len(sides))] or len(set(counts.values())) != 1:
        raise ModelError(
            f"the levels of the network are of sides {sides}; each must halve the last, with as many blocks"
        )
    if not width or any(count % width for count in channels.values()):
        raise ModelError(f"the channels of its levels, {list(channels.values())}, are no multiples of {width}")
    return {
        "model_channels": width,
        "channel_mult": [channels[one] // width for one in sides],
        "num_blocks": counts[side],
        "attention_resolutions": [one for one in sides if f"enc.{one}x{one}_block0.qkv.weight" in weights],
    }


def save_edm(network: Any, scheduler: Any, folder: Path) -> None:
    """Write a pipeline folder: `unet`, `scheduler`, and the index, in which classes have their numbers for names."""
    network.save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    index: dict[str, Any] = {
        "_class_name": "EDMPipeline",
        "_diffusers_version": diffusers.__version__,
        "id2label": {number: str(number) for number in range(network.config.num_classes)},
        "scheduler": ["diffusers", type(scheduler).__name__],
        "unet": ["difftuning", type(network).__name__],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
