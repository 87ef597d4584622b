"""The moment of sudden convergence: the step at which a ControlNet begins to obey (Diff-Tuning, section 4.2).

The paper chose its thresholds by hand. Here they follow from the curve of standard training: the two levels between which it leaps
are those of the best fit by a step (least squares), and the threshold is half way. A curve has converged at the step where it
crosses the threshold and stays beyond. The same threshold serves both trainings. The spread is over validation items, by bootstrap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from difftuning.errors import DataError

LEAP = 4.0
"""A curve leaps where its best step is so many standard deviations of what is left high, and most of its rise is in it."""
SHARE_OF_RISE = 0.5
"""Of the whole rise, within the two measurements around the step: less is gradual."""
RESAMPLED = 500


@dataclass(frozen=True, slots=True)
class Leap:
    """The step that fits a curve best.

    Attributes:
        before: the level before it.
        after: the level behind it.
        threshold: half way.
        sudden: it is a leap and no slope.
    """

    before: float
    after: float
    threshold: float
    sudden: bool


@dataclass(frozen=True, slots=True)
class Convergence:
    """When a curve converged.

    Attributes:
        step: the crossing, in training steps between measurements; None where it never came.
        low: the 5 % quantile over resampled validation items; None where more than 5 % of them never cross.
        high: the 95 % quantile.
    """

    step: float | None
    low: float | None
    high: float | None


def obeys(items: Tensor, higher: bool) -> bool:
    """Whether a training obeys more at its end than at its beginning.

    Args:
        items: (n, m) the consistency of each of m validation items at n measurements; their mean has become better by `LEAP` of its
            standard errors.
        higher: more of it is better.
    """
    change = (items[-1].double() - items[0].double()) * (1 if higher else -1)
    return bool(change.mean() > LEAP * change.std() / len(change) ** 0.5)


def find_leap(curve: Tensor) -> Leap:
    """The leap of a curve (n,) of at least 5 measurements, whichever way it goes; a slope of 4 would fit a step as well.

    Raises:
        DataError: there are fewer measurements.
    """
    values = curve.double()
    if len(values) < 5:
        raise DataError(
            f"a leap cannot be told from {len(values)} measurements; measure at least every quarter of the run"
        )
    fits = []
    for at in range(1, len(values)):
        parts = values[:at], values[at:]
        fits.append((sum(float((part - part.mean()).square().sum()) for part in parts), at))
    left, at = min(fits)
    before, after = float(values[:at].mean()), float(values[at:].mean())
    noise = (left / len(values)) ** 0.5
    # The rise from the measurement before the step to the one behind it, over that from the first to the last.
    around = float(values[min(at + 1, len(values) - 1)] - values[max(at - 2, 0)])
    whole = float(values[-1] - values[0])
    height = abs(after - before)
    share = around / whole if abs(whole) > 1e-12 else 0.0
    sudden = height > 0 and height >= LEAP * noise and share >= SHARE_OF_RISE
    return Leap(before, after, (before + after) / 2, sudden)


def crossing(steps: Tensor, curve: Tensor, leap: Leap) -> float | None:
    """The step at which a curve crosses the threshold and stays beyond it, by linear interpolation; None where it does not.

    Args:
        steps: (n,) rising.
        curve: (n,)
        leap: of the standard training, which says what beyond is.
    """
    beyond = (curve >= leap.threshold) if leap.after >= leap.before else (curve <= leap.threshold)
    stays = beyond.flip(0).long().cumprod(0).flip(0).bool()
    if not bool(stays.any()):
        return None
    at = int(stays.long().argmax())
    if at == 0:
        return float(steps[0])
    low, high = float(curve[at - 1]), float(curve[at])
    share = (leap.threshold - low) / (high - low)
    return float(steps[at - 1]) + share * float(steps[at] - steps[at - 1])


def convergence(steps: Tensor, items: Tensor, leap: Leap, seed: int = 0) -> Convergence:
    """When the mean over validation items converged, and how sure that is.

    Args:
        steps: (n,) at which was measured, rising.
        items: (n, m) the consistency of each of m validation items.
        leap: of the standard training.
        seed: of the resampling.
    """
    found = crossing(steps, items.mean(1), leap)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(items.shape[1], (RESAMPLED, items.shape[1]), generator=generator)
    crossings = [crossing(steps, items[:, one].mean(1), leap) for one in chosen]
    if found is None or crossings.count(None) > 0.05 * RESAMPLED:
        return Convergence(found, None, None)
    # Those that never cross are later than all that do.
    resampled = torch.tensor([math.inf if step is None else step for step in crossings])
    quantiles = torch.quantile(resampled, torch.tensor([0.05, 0.95]), interpolation="lower")
    return Convergence(found, *quantiles.tolist())
