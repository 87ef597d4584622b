"""The chain of forgetting made visible (Fig. 1 of the paper): the pretrained denoiser takes over the last steps.

The fine-tuned model denoises the noisy part of a trajectory and the pretrained one a share of the last steps, from none
to all. If what a model knows at little noise transfers, the distance to the target first stays or falls as the share
grows, then rises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from difftuning.noise.process import NoiseProcess
from difftuning.sampling.loop import Scheduler, State, resume, sample
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.types import Condition, Denoiser

SHARES = tuple(tenth / 10 for tenth in range(11))


@dataclass(frozen=True, slots=True)
class SwapPoint:
    """One share of the curve.

    Attributes:
        share: of the steps given to the pretrained model, as asked for.
        replaced: how many steps that is.
        metrics: what `distance` said of the images.
    """

    share: float
    replaced: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class SwapCurve:
    """The whole curve.

    Attributes:
        points: one a share, in the order asked for.
        strip: (rows, shares, 3, H, W) uint8, the first few seeds; a row is one seed, from no step replaced to all.
    """

    points: list[SwapPoint]
    strip: Tensor


def swap_curve(
    finetuned: Denoiser,
    pretrained: Denoiser,
    process: NoiseProcess,
    scheduler: Scheduler,
    condition: Condition,
    shape: Sequence[int],
    steps: int,
    distance: Callable[[Tensor], dict[str, float]],
    decode: Callable[[Tensor], Tensor],
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    batch_size: int = 64,
    strip_rows: int = 4,
    progress: Callable[[int], None] | None = None,
) -> SwapCurve:
    """Sample at each share from the same seeds and measure. What the shares have in common is computed once.

    Args:
        finetuned: denoises first.
        pretrained: takes over; wrap it in `sampling.denoiser.Unconditional` if it does not know the conditions.
        process: of both.
        scheduler: any; a multistep solver takes its history over the swap.
        condition: one for each sample, on the models' device.
        shape: (C, H, W) of a latent.
        steps: of the solver.
        distance: judges (N, 3, H, W) uint8 images; called once a share.
        decode: latents (B, C, H, W) -> images (B, 3, H, W) uint8 on the CPU.
        shares: in [0, 1]; each is rounded to whole steps.
        seed: sample i depends on (seed, i) alone.
        batch_size: samples at a time.
        strip_rows: how many seeds the strip shows.
        progress: called with the number of finished samples after each batch.
    """
    replaced = [round(share * steps) for share in shares]
    images: dict[int, list[Tensor]] = {count: [] for count in replaced}
    for first in range(0, len(condition), batch_size):
        part = condition[first : first + batch_size]
        indices = range(first, first + len(part))
        noise = sample_noise(seed, indices, shape).to(part.labels.device)
        branches = _Branches(steps, images)
        sample(finetuned, process, scheduler, part, noise, steps, generators(seed, indices), branches)
        for count, done in images.items():
            latents = resume(pretrained, process, part, branches.states[count])
            done.append(decode(latents))
        if progress is not None:
            progress(first + len(part))
    finished = {count: torch.cat(parts) for count, parts in images.items()}
    metrics = {count: distance(all_images) for count, all_images in finished.items()}
    points = [SwapPoint(share, count, metrics[count]) for share, count in zip(shares, replaced, strict=True)]
    return SwapCurve(points, torch.stack([finished[count][:strip_rows] for count in replaced], dim=1))


class _Branches:
    """Keeps the states of a trajectory at which the last `counts` steps begin."""

    def __init__(self, steps: int, counts: Iterable[int]) -> None:
        self.steps, self.counts = steps, tuple(counts)
        self.states: dict[int, State] = {}

    def __call__(self, state: State) -> None:
        for count in self.counts:
            # In whole steps of the solver: Heun's two evaluations of one step are not torn apart.
            if state.step == min(state.scheduler.order * (self.steps - count), state.total):
                self.states[count] = state.copy()
