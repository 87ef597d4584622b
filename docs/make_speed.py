"""Write docs/speed.md from the result files of benchmarks/.

python docs/make_speed.py
"""

from __future__ import annotations

# ruff: noqa: E501 - lines of a page
import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "speed.md"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
NAMES = {
    "dit": "DiT, the embedded icon model",
    "unet": "UNet, DDPM",
    "edm": "EDM",
    "flow": "flow matching",
    "text-to-image": "text-to-image UNet",
    "controlnet": "ControlNet",
}


def page() -> str:
    """The page as Markdown."""
    speed = {path.stem: json.loads(path.read_text()) for path in (RESULTS / "speed").glob("*.json")}
    memory, big, bank, start = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("peak_memory", "big_data", "bank_read", "start_time")
    )
    return f"""# What it costs

Ratios, each from one run in which both sides take turns on one machine ({speed["step"]["machine"]["cpu"]}, two cores), since
absolute times say nothing about yours. A ratio is the median over the turns, with its quartiles in brackets. `docs/make_speed.py`
writes this page from the result files. A bound that is missed here stands as missed.

## A step

`python benchmarks/speed/step.py`: Diff-Tuning and standard fine-tuning at an equal batch (32 for the embedded DiT, as in its recipes, 16 for the others); the library's loop over the least
that trains the same model (forward, backward, clipping, fused AdamW on data that are ready; no average, no log); a frozen teacher in
the place of the bank. Bounds: {speed["step"]["bounds"]["diff_tuning_over_standard"]} and {speed["step"]["bounds"]["our_loop_over_bare"]}.

| family | Diff-Tuning over standard | our loop over a bare one | a teacher over standard |
|---|---:|---:|---:|
{_steps(speed["step"]["families"])}

## From pixels to a step

`python benchmarks/speed/pixels.py`: networks of the published width with random weights, float32. *Plain* is a training loop of
diffusers, which encodes images and prompts in every step and updates by AdamW as torch makes it by default, over ours on cached latents
and a fused AdamW at the same batch; *the cache alone* gives both the fused one. *Class batch* is DreamBooth's prior preservation, which
encodes and trains as many class images beside: target samples a second of ours over its, in the split of the paper's code (26 of 32 are
target) and at tau = 1 by source (half are).

| model | pixels | batch | rounds | plain over ours | the cache alone | target samples over class batch, 26 of 32 | the same, tau = 1 | over a class batch that is cached, 26 of 32 |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
{_pixels(speed["pixels"]["rows"])}

Bounds: {speed["pixels"]["bounds"]["pixels_to_step"]} and {speed["pixels"]["bounds"]["target_samples_over_class_batch"]}. By
operations alone a step with the encoder in it costs DiT-XL/2 1.38 steps; at small batches the update of all weights, which both pay,
takes its part of both.

## Drawing, diagnosing, several processes

| | ratio | bound |
|---|---:|---:|
{_others(speed, big, bank, start)}

{_bank(speed["bank"], speed["bank_text"])}

## Memory

Peak of a process that trains DiT-XL/2 (675 M parameters, 101 classes) at a batch of {memory["batch_size"]} on latents of 32x32, less what it held
before the model was made, and what `train --dry-run` estimates: `python benchmarks/memory.py`.

| setting | GiB | estimated |
|---|---:|---:|
{_lines((name, f"{one['gib']:.1f}", f"{one['estimated_gib']:.1f}") for name, one in memory["settings"].items())}

Autocast to bf16 keeps float32 weights and casts copies of them. On a CPU the allocator gives back late, and a pass needs room for what its
kernels use meanwhile; neither is in an estimate.

## Large sets

| | items | opens in s | items/s | MiB added |
|---|---:|---:|---:|---:|
| a [streamed](how-to/big-data.md) target, latents of 4x2x2 | {big["count"]:,} | {big["open_seconds"]:.1f} | {big["items_per_second"]:,.0f} | {big["added_mib"]:.0f} |
| a bank of Stable Diffusion's latents, 4x64x64 | {bank["count"]:,} | {bank["open_seconds"]:.1f} | {bank["items_per_second"]:,.0f} | {bank["added_mib"]:.0f} |

Read in batches of 32 at random, one thread: `python benchmarks/big_data.py`, `python benchmarks/bank_read.py`.
"""


def _lines(rows: Any) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _ratio(found: dict[str, float], digits: int = 3) -> str:
    low, high = found["quartile_low"], found["quartile_high"]
    return f"{found['ratio']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _steps(families: dict[str, Any]) -> str:
    keys = ("diff_tuning_over_standard", "our_loop_over_bare", "teacher_over_standard")
    return _lines((NAMES[name], *(_ratio(one[key]) for key in keys)) for name, one in families.items())


def _pixels(rows: list[dict[str, Any]]) -> str:
    def row(one: dict[str, Any]) -> tuple[str, ...]:
        shares = one["target_samples_over_class_batch"]
        split, source = shares["timestep, 26 of 32"], shares["source, tau = 1"]
        over = [split.get("class batch"), source.get("class batch"), split.get("class batch, cached")]
        return (
            one["model"],
            str(one["side"]),
            str(one["batch_size"]),
            str(one["rounds"]),
            _ratio(one["pixels_to_step"], 2),
            _ratio(one["pixels_to_step_by_the_cache_alone"], 2),
            *(_ratio(each, 2) if each else "not measured" for each in over),
        )

    return _lines(map(row, rows))


def _others(speed: dict[str, Any], big: Any, bank: Any, start: Any) -> str:
    swap, two, banks = speed["swap"], speed["two_processes"], [speed["bank"], speed["bank_text"]]
    processes = [
        line
        for one in two["rows"]
        for line in (
            (
                f"two processes over one, a core each: {NAMES[one['family']]}, {one['batch_size']} images a step",
                _ratio(one["two_processes_over_one"], 2),
                str(two["bound"]),
            ),
            ("two that exchange nothing: what the second core brings", _ratio(one["two_apart_over_one"], 2), ""),
        )
    ]
    drawing = [
        line
        for one in banks
        for line in (
            (
                f"bank: samples a second over `{next(iter(one['distance'])).partition(',')[0]}` in its documented use, at equal distance ({one['chosen']})",
                _ratio(one["speedup"], 2),
                str(one["bound"]),
            ),
            ("the same over calls of 64", _ratio(one["speedup_over_calls_of_64"], 2), ""),
        )
    ]
    return _lines(
        [
            *drawing,
            (
                "swap curve at 11 shares over 11 runs, guided",
                _ratio(swap["speedup_at_guidance_1.5"], 2),
                str(swap["bound"]),
            ),
            ("the same without guidance", _ratio(swap["speedup_at_guidance_1"], 2), ""),
            *processes,
            *(
                (
                    f"`{name}`, seconds, median of {start['times']}",
                    f"{one['median']:.2f} (slowest {one['slowest']:.2f})",
                    str(one["bound"]),
                )
                for name, one in start["commands"].items()
            ),
        ]
    )


def _bank(classes: dict[str, Any], prompts: dict[str, Any]) -> str:
    return f"""Why a bank is drawn with so few steps: Frechet distance of some samples from as many by 100 steps of DDIM, three seeds, of a
DiT (`{classes["model"]}`, {classes["count"]} samples) and of a Stable Diffusion (`{prompts["model"]}`, {prompts["count"]}). The default is {classes["default"]}. Of models by
beta schedules (`DDPMScheduler`'s law) `bank.solver=dpm++lu bank.steps=12` is worth a try, and `bank.precision=bf16` where the machine
has it: draw a hundred by both, and look.

| solver, steps, precision | DiT | Stable Diffusion |
|---|---:|---:|
{_lines((name, *(_distance(one, name) for one in (classes, prompts))) for name in {**classes["distance"], **prompts["distance"]})}"""


def _distance(found: dict[str, Any], name: str) -> str:
    one = found["distance"].get(name)
    return "" if one is None else f"{one['mean']:.1f} ± {one['spread']:.1f}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
