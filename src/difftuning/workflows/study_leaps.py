"""When the ControlNet of a study's cell began to obey, as rows."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from difftuning.evaluation.sudden_convergence import convergence, find_leap, obeys
from difftuning.json_files import MetricsLog
from difftuning.results import Row
from difftuning.run_folder import RunFolder
from difftuning.workflows.consistency import ITEMS


def leap_rows(run: Path, standard: Path, like: Row, higher: bool) -> list[Row]:
    """The step at which the curve of a run crosses the threshold of the standard run, and its 5 and 95 % quantiles over the items.

    A run that never stays beyond it has the last step in the place of that step, which it is later than, and 0 as
    `convergence_reached`. The threshold has a row of its own, and so has whether the standard curve
    leaps there (1) or climbs slowly (0). Where standard training itself has not come to obey, there is no threshold and no row.

    Args:
        run: a run folder with measurements of control consistency.
        standard: that of the same run with tau = 0, which sets the threshold.
        like: a row of the run, for its names.
        higher: more of the consistency is better.
    """
    steps, items = measured(run)
    _, before = measured(standard)
    if not obeys(before, higher):
        return []
    leap = find_leap(before.mean(1))
    found = convergence(steps, items, leap)
    values = {
        "convergence": float(steps[-1]) if found.step is None else found.step,
        "convergence_reached": float(found.step is not None),
        "convergence_low": found.low,
        "convergence_high": found.high,
        "convergence_threshold": leap.threshold,
        "convergence_sudden": float(leap.sudden),
    }
    return [
        like.model_copy(update={"metric": metric, "value": value, "setting": {}, "network": None, "n": items.shape[1]})
        for metric, value in values.items()
        if value is not None
    ]


def measured(run: Path) -> tuple[Tensor, Tensor]:
    """(n,) the steps at which a run was measured, and (n, m) the consistency of each item."""
    records = [record for record in MetricsLog(RunFolder(run).metrics).read().records if ITEMS in record]
    return torch.tensor([int(record["step"]) for record in records]), torch.tensor(
        [record[ITEMS] for record in records]
    )
