"""How long the chain-of-forgetting curve takes at 11 shares, against 11 separate runs of the denoiser swap.

    python benchmarks/speed/swap.py [--rounds 4] [--samples 32] [--out benchmarks/results/speed/swap.json]

The same images are drawn and judged on both sides: by `swap_curve`, which computes once what the shares have in common, and by a
run of the sampling loop for each share with the two denoisers swapped at that u. The fine-tuned model is guided and the
pretrained one is asked under its null label, as `diagnose` does it; beside it without guidance, where the network is asked
65 times for 110, so that 1.69 is the most that there is to gain.
"""

from __future__ import annotations

import copy
import sys

import torch
from torch import Tensor
from turns import medians, options, publish, ratio, take_turns

from difftuning.backbones.loading import load
from difftuning.backbones.solvers import make_scheduler
from difftuning.diagnosis.swap_curve import SHARES, swap_curve
from difftuning.evaluation.features import extract, feature_network, to_uint8
from difftuning.evaluation.fidelity import frechet
from difftuning.sampling.denoiser import Unconditional
from difftuning.sampling.loop import sample
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.sampling.swap import Swap
from difftuning.types import Condition
from difftuning.workflows.drawing import denoiser_of
from difftuning.workflows.recipe import SamplingConfig

BOUND = 1.8
STEPS = 10
"""Of the solver, so that each share is a number of whole steps."""


def main() -> int:
    """Print and write the ratios; 0 if the bound is met under guidance."""
    parser = options(__doc__, 4, "swap")
    parser.add_argument("--model", default="dit-icons-32")
    parser.add_argument("--samples", type=int, default=32)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    before = load(given.model)
    model = copy.deepcopy(before)
    for backbone in (model, before):
        backbone.network.eval()
    network = feature_network("efficientnet-lite0")
    config = SamplingConfig(solver="dpm++", steps=STEPS)
    scheduler = make_scheduler(config.solver, model.scheduler_config)
    condition, indices = Condition(torch.arange(given.samples)), range(given.samples)
    noise = sample_noise(config.seed, indices, model.sample_shape)
    low = Unconditional(denoiser_of(before, config, guidance=1), before.labels.null)
    reference = extract(to_uint8(torch.randn(given.samples, 3, 32, 32).clamp(-1, 1)), network)

    def distance(images: Tensor) -> dict[str, float]:
        return {"frechet": frechet(extract(images, network), reference)}

    def decode(latents: Tensor) -> Tensor:
        return to_uint8(model.codec.decode(latents))

    def together(guidance: float) -> None:
        high = denoiser_of(model, config, guidance=guidance)
        args = (high, low, model.process, scheduler, condition, model.sample_shape, STEPS, distance, decode)
        swap_curve(*args, SHARES, config.seed, given.samples)

    def apart(guidance: float) -> None:
        high = denoiser_of(model, config, guidance=guidance)
        for share in SHARES:
            denoiser = Swap(high, low, share, model.clock)
            latents = sample(
                denoiser, model.process, scheduler, condition, noise, STEPS, generators(config.seed, indices)
            )
            distance(decode(latents))

    runs = {
        f"{name}, guidance {guidance:g}": (lambda run=run, guidance=guidance: run(guidance))
        for name, run in (("together", together), ("apart", apart))
        for guidance in (config.guidance, 1.0)
    }
    seconds = take_turns(runs, given.rounds)
    found = {
        f"speedup_at_guidance_{guidance:g}": ratio(
            seconds, f"apart, guidance {guidance:g}", f"together, guidance {guidance:g}"
        )
        for guidance in (config.guidance, 1.0)
    }
    about = {"model": given.model, "samples": given.samples, "shares": SHARES, "steps": STEPS, "rounds": given.rounds}
    publish({**about, **found, "seconds": medians(seconds), "bound": BOUND}, given.out)
    return 0 if found[f"speedup_at_guidance_{config.guidance:g}"]["ratio"] >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
