"""What a run will hold, before it begins: counted from its parameters and from one pass of one sample, against what is there."""

from __future__ import annotations

import math

import torch

from difftuning.bank.card import CARD
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.processes import present
from difftuning.sampling.denoiser import MixedPrecision
from difftuning.training.memory import Memory, activations, held, kept
from difftuning.tuning import build as build_tuner
from difftuning.types import Batch, Condition, Draw
from difftuning.workflows.assemble import Prepared, trained_besides
from difftuning.workflows.device_memory import GIB, free, mends, within_memory
from difftuning.workflows.display import Display
from difftuning.workflows.heldout import measuring
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.train import check


def dry_run(recipe: Recipe, display: Display, judged: bool = False) -> Memory:
    """`train.check`, then `preflight`: all that can be found without a bank and without a step.

    Raises:
        DifftuningError: something cannot be used, or the device cannot hold it.
    """
    with within_memory(lambda: mends(recipe)):
        return preflight(check(recipe, display, judged), display)


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
    if backbone.encoders_stay:
        display.note(
            f"the text encoders stay in the host's memory, since {backbone.device} does not hold them beside the rest"
        )
    display.note(verdict(found, room, recipe, backbone.device.type))
    measured = prepared.needs_bank or (recipe.heldout_bank_path / CARD).is_file()
    if (line := measuring(recipe, 2 if measured else 1)) is not None:
        display.note(line)
    return found


def verdict(found: Memory, room: int, recipe: Recipe, device: str) -> str:
    """Whether it fits into so many free bytes, and which keys would save how much where it does not."""
    said = f"{device} has {room / GIB:.1f} GiB free for about {found.total / GIB:.1f}"
    if found.total <= room:
        return said
    return f"{said}, so it will probably fail; {'; '.join(mends(recipe, device, found))}"


def estimate(prepared: Prepared) -> Memory:
    """What a step holds, without what kernels use meanwhile; under gradient checkpointing without the block that is made again."""
    recipe, backbone = prepared.recipe, prepared.backbone
    offloaded = recipe.training.offload and backbone.device.type != "cpu"
    beside = () if offloaded else (*backbone.codec.modules, *backbone.encoders.values())
    parts = [*backbone.at_work, *beside]
    tuner = build_tuner(recipe.tuner)
    parameters = tuner.attach(backbone.network, trained_besides(recipe, backbone), recipe.seed)
    if recipe.training.gradient_checkpointing:
        backbone.network.enable_gradient_checkpointing()
    weights = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    if recipe.distillation is not None and not tuner.reversible:
        weights += [torch.empty_like(parameter, device="meta") for parameter in backbone.network.parameters()]
    # An anchor keeps where each trained weight began, and EWC how much each matters.
    copies = 0 if recipe.anchor is None else 2 if recipe.anchor.kind == "ewc" else 1
    weights += [torch.empty_like(one, device="meta") for _ in range(copies) for one in parameters.values()]
    count = present().count
    samples = math.ceil(math.ceil(recipe.training.batch_size / count) / (recipe.training.passes(count) or 1))
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
