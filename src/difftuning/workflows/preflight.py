"""What a run will hold, before it begins: counted from its parameters and from one pass of one sample, against what is there."""

from __future__ import annotations

import math

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.processes import present
from difftuning.sampling.denoiser import MixedPrecision
from difftuning.training.memory import Memory, activations, held, kept
from difftuning.tuning import build as build_tuner
from difftuning.types import Batch, Condition, Draw
from difftuning.workflows.assemble import Prepared, trained_besides
from difftuning.workflows.display import Display
from difftuning.workflows.recipe import Recipe

GIB = 2**30


def preflight(prepared: Prepared, display: Display) -> Memory:
    """Show what a step will hold on the device, what lies on disk, and what to change where the device has less.

    The tuner is put upon the model for it, so nothing should be trained from `prepared` afterwards.
    """
    recipe, backbone = prepared.recipe, prepared.backbone
    room = free(backbone.device)
    found = estimate(prepared)
    rows = [
        (name, getattr(found, name) / GIB) for name in ("weights", "gradients", "moments", "average", "activations")
    ]
    display.table(f"a step on {backbone.device.type}, estimated", ("what", "GiB"), [*rows, ("all", found.total / GIB)])
    itemsize = getattr(torch, recipe.bank.dtype).itemsize
    bank = recipe.bank.count * math.prod(backbone.sample_shape) * itemsize if prepared.needs_bank else 0
    cached = prepared.target.train.host_bytes / GIB
    display.note(f"bank: {bank / GIB:.2f} GiB on disk; latents of the target: {cached:.2f} GiB in host memory")
    display.note(verdict(found, room, recipe, backbone.device.type))
    return found


def verdict(found: Memory, room: int, recipe: Recipe, device: str) -> str:
    """Whether it fits into so many free bytes, and which keys would save how much where it does not."""
    said = f"{device} has {room / GIB:.1f} GiB free for about {found.total / GIB:.1f}"
    if found.total <= room:
        return said
    mends = []
    if not recipe.training.gradient_checkpointing:
        mends.append("training.gradient_checkpointing=true keeps a small part of the activations")
    if recipe.training.accumulate < recipe.training.batch_size:
        mends.append(f"training.accumulate={recipe.training.batch_size} keeps those of one sample")
    if not recipe.training.offload and device != "cpu":
        mends.append("training.offload=true moves autoencoder and text encoders to the host")
    if recipe.ema.device is None and device != "cpu":
        mends.append(f"ema.device=cpu saves {found.average / GIB:.1f} GiB")
    if not recipe.optim.eight_bit:
        mends.append(f"optim.eight_bit=true saves {0.75 * found.moments / GIB:.1f} GiB")
    if recipe.tuner.kind == "full":
        saved = found.gradients + found.moments + found.average
        mends.append(f"tuner.kind=lora saves nearly all of {saved / GIB:.1f} GiB")
    return f"{said}, so it will probably fail; {'; '.join(mends) or 'take a smaller model or another device'}"


def free(device: torch.device) -> int:
    """Bytes that a device has left."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    return int(psutil.virtual_memory().available)


def estimate(prepared: Prepared) -> Memory:
    """What a step holds, without what kernels use meanwhile; under gradient checkpointing without the block that is made again."""
    recipe, backbone = prepared.recipe, prepared.backbone
    beside = [getattr(backbone.codec, "vae", None), *getattr(backbone, "encoders", {}).values()]
    offloaded = recipe.training.offload and backbone.device.type != "cpu"
    parts = [backbone.network, getattr(backbone, "base", None), *([] if offloaded else beside)]
    tuner = build_tuner(recipe.tuner)
    parameters = tuner.attach(backbone.network, trained_besides(recipe, backbone), recipe.seed)
    if recipe.training.gradient_checkpointing:
        backbone.network.enable_gradient_checkpointing()
    weights = [
        tensor for part in parts if isinstance(part, nn.Module) for tensor in (*part.parameters(), *part.buffers())
    ]
    if recipe.distillation is not None and not tuner.reversible:
        weights += [torch.empty_like(parameter, device="meta") for parameter in backbone.network.parameters()]
    # An anchor keeps where each trained weight began, and EWC how much each matters.
    copies = 0 if recipe.anchor is None else 2 if recipe.anchor.kind == "ewc" else 1
    weights += [torch.empty_like(one, device="meta") for _ in range(copies) for one in parameters.values()]
    samples = math.ceil(recipe.training.batch_size / recipe.training.accumulate / present().count)
    passes = activations(lambda count: _kept(prepared, count), samples)
    average = recipe.ema.device is None or backbone.device.type == "cpu"
    return held(weights, parameters.values(), average, passes, bool(recipe.optim.eight_bit))


def _kept(prepared: Prepared, count: int) -> int:
    """Bytes that one forward pass of so many samples keeps for the way back."""
    recipe, backbone = prepared.recipe, prepared.backbone
    u, device = torch.full((count,), 0.5), backbone.device
    x0 = torch.zeros(count, *backbone.sample_shape)
    places = torch.zeros(count, dtype=torch.int64)
    control = None if prepared.controls is None else prepared.controls.train.get(places)
    condition = Condition(torch.full((count,), backbone.default_label), control)
    draw = Draw(backbone.clock.t(u), u, torch.zeros(count, dtype=torch.bool), torch.ones(count))
    network = MixedPrecision(backbone, recipe.training.precision)
    objective = DiffTuning(network, backbone.process, backbone.prediction, backbone.learned_variance)
    batch = Batch(x0, torch.randn_like(x0), condition, draw).to(device)
    backbone.network.train()
    return kept(backbone.network, lambda: objective(batch).loss())
