"""The cost model for five published models on 1, 8 and 64 devices, and the tables of docs/scaling.md.

    python benchmarks/scaling.py [MODEL ...] [--tables] [--out benchmarks/results/scaling.json]

Networks are made at their published width on the meta device, where operations and what a pass keeps are counted and nothing is
computed. Rows of models that are not asked for stay in the file. `--tables` prints the tables of the page from the result file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor

from difftuning.config.provenance import provenance
from difftuning.diagnosis.cost import (
    Device,
    Model,
    bank_bytes,
    bank_operations,
    communication_seconds,
    most_samples,
    operations,
    state_bytes,
    step_seconds,
)
from difftuning.json_files import write_json
from difftuning.training.memory import kept

sys.path.insert(0, str(Path(__file__).parent))
import full_width

OUT = Path(__file__).parent / "results" / "scaling.json"
GIB = 2**30
A100 = Device("A100 80 GB", speed=312e12, reached=0.33, memory=80e9, link=300e9, network=25e9)
"""bf16 without sparsity; NVLink 3, and one 200 Gbit/s link a device between nodes; the share is that of fast-DiT, below."""
FAST_DIT = {"steps_a_second": 0.84, "batch": 128, "gain_of_cache": 1.5}
"""chuanyangjin/fast-DiT: DiT-XL/2 at 256 pixels on one A100, mixed precision, gradient checkpointing,
cached features, which are 1.5 times as fast as encoding."""
BANK, STEPS = 50_000, 25
DEVICES = (1, 8, 64)


def _flux() -> Any:
    """The transformer of black-forest-labs/FLUX.1-dev."""
    return FluxTransformer2DModel(guidance_embeds=True)


def _tokens(width: int, count: int) -> Tensor:
    return torch.empty(1, count, width)


def _ask_dit(network: Any, x: Tensor) -> Any:
    return network(x, timestep=torch.empty(1), class_labels=torch.zeros(1, dtype=torch.int64))


def _ask_sd(network: Any, x: Tensor) -> Any:
    return network(x, torch.empty(1), encoder_hidden_states=_tokens(768, 77))


def _ask_sdxl(network: Any, x: Tensor) -> Any:
    added = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
    return network(x, torch.empty(1), encoder_hidden_states=_tokens(2048, 77), added_cond_kwargs=added)


def _ask_pixart(network: Any, x: Tensor) -> Any:
    states, none = _tokens(4096, 120), {"resolution": None, "aspect_ratio": None}
    return network(x, encoder_hidden_states=states, timestep=torch.empty(1), added_cond_kwargs=none)


def _ask_sd3(network: Any, x: Tensor) -> Any:
    return network(
        x, encoder_hidden_states=_tokens(4096, 333), pooled_projections=torch.empty(1, 2048), timestep=torch.empty(1)
    )


def _ask_flux(network: Any, x: Tensor) -> Any:
    side = x.shape[-1] // 2
    return network(
        hidden_states=_tokens(64, side * side),
        encoder_hidden_states=_tokens(4096, 512),
        pooled_projections=torch.empty(1, 768),
        timestep=torch.empty(1),
        img_ids=torch.empty(side * side, 3),
        txt_ids=torch.empty(512, 3),
        guidance=torch.empty(1),
    )


NETWORKS: dict[str, tuple[Callable[[], Any], Callable[[Any, Tensor], Any], int, int]] = {
    "DiT-XL/2": (full_width.dit_xl_2, _ask_dit, 4, 256),
    "PixArt-XL/2": (full_width.pixart_xl_2, _ask_pixart, 4, 256),
    "Stable Diffusion 1.5": (full_width.sd_15, _ask_sd, 4, 512),
    "Stable Diffusion XL": (full_width.sdxl, _ask_sdxl, 4, 1024),
    "Stable Diffusion 3 medium": (full_width.sd3_medium, _ask_sd3, 16, 1024),
    "Flux dev": (_flux, _ask_flux, 16, 1024),
}
"""The network, how it is asked, the channels of a latent, the side of an image in pixels."""


def _encode(channels: int, side: int) -> int:
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=channels, **kinds)
    return operations(lambda: vae.encoder(torch.empty(1, 3, side, side)))


def model(name: str, side: int | None = None) -> Model:
    """A row, counted."""
    make, ask, channels, usual = NETWORKS[name]
    side = side or usual
    with torch.device("meta"):
        network = make()
        x = torch.empty(1, channels, side // 8, side // 8)
        forward, encode = operations(lambda: ask(network, x)), _encode(channels, side)
        keeps = kept(network, lambda: ask(network, x))
    count = sum(value.numel() for value in network.parameters())
    return Model(name, count, count, forward, encode, (channels, side // 8, side // 8), keeps)


def plan(one: Model, devices: int) -> dict[str, Any]:
    """What a model needs on so many devices."""
    sharded = devices > 1 and state_bytes(one) > 0.5 * A100.memory
    # As many samples as fit without checkpointing, a power of two, at most the paper's 32; else one with it.
    room = most_samples(one, A100, devices, sharded)
    batch = 1 << min(5, room.bit_length() - 1) if room else 1
    seconds = step_seconds(one, A100, devices, batch, checkpointing=not room, sharded=sharded)
    return {
        "sharded": sharded,
        "state_gib": state_bytes(one, devices, sharded) / GIB,
        "fits": state_bytes(one, devices, sharded) < 0.9 * A100.memory,
        "batch": batch,
        "checkpointing": not room,
        "step_seconds": seconds,
        "communication_share": communication_seconds(one, A100, devices, sharded) / seconds,
        "samples_a_second": batch * devices / seconds,
        "bank_hours": bank_operations(one, BANK, STEPS) / (A100.speed * A100.reached * devices) / 3600,
    }


def plans_of(row: dict[str, Any]) -> dict[str, Any]:
    """What a counted model needs, with all of it training and with a hundredth, as under LoRA."""
    whole = Model(**{field: row[field] for field in Model.__slots__})
    adapted = replace(whole, trained=whole.parameters // 100)
    each = (("all", whole), ("LoRA, 1 %", adapted))
    return {trains: {str(devices): plan(which, devices) for devices in DEVICES} for trains, which in each}


def counts(found: dict[str, Any]) -> str:
    """The table of what was counted."""
    lines = [
        "| model | pixels | parameters, M | forward, GFLOP | encode, GFLOP | a pass keeps, GiB | bank of 50,000, GB |"
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name, one in found["models"].items():
        bank = one["bank_bytes"] / 1e9
        lines.append(
            f"| {name} | {one['side']} | {one['parameters'] / 1e6:,.0f} | {one['forward'] / 1e9:,.0f} | "
            f"{one['encode'] / 1e9:,.0f} | {one['kept'] / GIB:.1f} | {bank:.1f} |"
        )
    return "\n".join(lines)


def plans(found: dict[str, Any]) -> str:
    """The table of what it takes on 1, 8 and 64 devices, under all weights and under LoRA."""
    lines = [
        "| model | trains | GPUs | state a GPU, GiB | batch a GPU | step, s | of it communication | samples/s | bank, hours |"
    ]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, one in found["models"].items():
        for trains, rows in one["plans"].items():
            for devices, row in rows.items():
                state = f"{row['state_gib']:.1f}{', sharded' if row['sharded'] else ''}"
                if not row["fits"]:
                    lines.append(
                        f"| {name} | {trains} | {devices} | {state} | does not fit | | | | {row['bank_hours']:.2g} |"
                    )
                    continue
                rate = f"{row['samples_a_second']:,.{0 if row['samples_a_second'] >= 10 else 1}f}"
                batch = f"{row['batch']}{', checkpointing' if row['checkpointing'] else ''}"
                lines.append(
                    f"| {name} | {trains} | {devices} | {state} | {batch} | {row['step_seconds']:.2f} | "
                    f"{100 * row['communication_share']:.0f} % | {rate} | {row['bank_hours']:.2g} |"
                )
    return "\n".join(lines)


def checks(found: dict[str, Any]) -> str:
    """The table of the model against what is published or was measured."""
    lines = ["| what | counted | published or measured |", "|---|---:|---:|"]
    lines += [f"| {row['what']} | {row['counted']:,.4g} | {row['known']:,.4g} |" for row in found["checks"]]
    return "\n".join(lines)


def _checks(models: dict[str, Any]) -> list[dict[str, Any]]:
    measured = json.loads(full_width.OUT.read_text())["models"]
    dit = models["DiT-XL/2"]
    reached = FAST_DIT["steps_a_second"] * FAST_DIT["batch"] * 4 * dit["forward"] / A100.speed
    rows = [
        {
            "what": "DiT-XL/2 at 256 pixels, G multiply-adds (Peebles & Xie, Table 4)",
            "counted": dit["forward"] / 2e9,
            "known": 118.64,
        },
        {
            "what": "share of an A100's speed that fast-DiT's 0.84 steps/s at batch 128 are, from which ours is taken",
            "counted": reached,
            "known": A100.reached,
        },
        {
            "what": "steps a second with cached features over those with an autoencoder in the loop, fast-DiT's settings",
            "counted": 1 + dit["encode"] / (4 * dit["forward"]),
            "known": FAST_DIT["gain_of_cache"],
        },
    ]
    for one in measured:
        if one.get("tuner") and one["model"] in models:
            size = Model(one["model"], one["parameters"], one["trainable"], 0, 0, (), 0)
            held = (state_bytes(size) + (models[one["model"]]["kept_at_256"] if one["tuner"] == "full" else 0)) / GIB
            what = "state and activations" if one["tuner"] == "full" else "state alone"
            rows.append(
                {
                    "what": f"{one['model']}, {one['tuner']}, {what} against the peak of a process, GiB",
                    "counted": held,
                    "known": one["peak_gib"],
                }
            )
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"some of: {', '.join(NETWORKS)}; all without it")
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    if options.tables:
        found = json.loads(options.out.read_text())
        print("\n\n".join((counts(found), plans(found), checks(found))))
        return
    there = json.loads(options.out.read_text())["models"] if options.out.is_file() else {}
    models = {name: row for name, row in there.items() if name not in (options.models or NETWORKS)}
    for name in options.models or NETWORKS:
        one, side = model(name), NETWORKS[name][-1]
        kept_at_256 = one.kept if side == 256 else model(name, 256).kept
        models[name] = {**asdict(one), "side": side, "kept_at_256": kept_at_256, "bank_bytes": bank_bytes(one, BANK)}
        print(name, one, flush=True)
        rows = {row: {**models[row], "plans": plans_of(models[row])} for row in NETWORKS if row in models}
        known = _checks(rows) if "DiT-XL/2" in rows else []
        found = {"models": rows, "checks": known, "device": asdict(A100), "bank": BANK, "steps": STEPS}
        write_json(options.out, {**found, **provenance()})


if __name__ == "__main__":
    main()
