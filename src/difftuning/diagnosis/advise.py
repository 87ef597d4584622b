"""Coefficients from measurement: where a short standard fine-tuning learns nothing about the target, nothing is to be relearned.

The probe is a run of standard fine-tuning whose held-out error was measured in bins of u while it trained. What a bin can gain is
the share by which the probe's lowest error in it lies below the pretrained model's; psi rises with that gain to 1. A probe whose
error rises again after its lowest learns its images by heart, and then a part of each batch stays with retention everywhere. Where
every bin gains much and nothing rises, psi is 1 everywhere, which is standard fine-tuning. Ours, not the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from difftuning.errors import DataError

FULL_GAIN = 0.03
"""From this gain on a bin is the target's. Small gains of the error count: they are what makes samples look like the target."""
LEAST_RETENTION = 0.2
"""What retention takes of each bin where the probe's mean error rose by `FULL_RISE` or more; in proportion below."""
FULL_RISE = 0.02


def measured_psi(
    pretrained: Sequence[float],
    probe: Sequence[Sequence[float]],
    full_gain: float = FULL_GAIN,
    goes_on: bool = False,
    least_retention: float = LEAST_RETENTION,
) -> tuple[tuple[float, float], ...]:
    """The knots (u, psi) of a measured psi, at the middles of the bins; it never falls.

    A short probe, which ends before its error rises, leaves nothing to retention where the target has all to gain.

    Args:
        pretrained: the pretrained model's held-out error in equal bins of u, all above zero.
        probe: the probe's, one row for each time that it was measured, in order.
        full_gain: the relative gain from which psi is 1.
        goes_on: the probe has not ended, so what a bin has to gain that is lowest now is not known yet: it counts in full.
        least_retention: in the place of `LEAST_RETENTION`; 1 where retention takes nothing from the target.

    Raises:
        DataError: the probe was never measured, or in other bins.
    """
    if not probe or any(len(row) != len(pretrained) for row in probe):
        raise DataError(
            "the probe has no held-out errors in the bins of the pretrained model; set training.heldout_every"
        )
    lowest = [min(errors) for errors in zip(*probe, strict=True)]
    gains = [(start - low) / start for start, low in zip(pretrained, lowest, strict=True)]
    if goes_on:
        gains = [full_gain if error <= low else gain for error, low, gain in zip(probe[-1], lowest, gains, strict=True)]
    means = [fmean(errors) for errors in probe]
    rise = means[-1] / min(means) - 1
    most = 1 - least_retention * min(rise / FULL_RISE, 1.0)
    psi = _rising([min(max(gain / full_gain, 0.0), most) for gain in gains])
    return tuple(((index + 0.5) / len(psi), value) for index, value in enumerate(psi))


def _rising(values: Sequence[float]) -> list[float]:
    """The nearest sequence, in squares, that never falls: neighbours that fall are pooled (isotonic regression)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, size = pools.pop()
            mean, count = (mean * count + before * size) / (count + size), count + size
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]
