"""The held-out error in ten bins of u as a table: a line a method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from difftuning.reporting.settings_table import BASELINE
from difftuning.reporting.text_table import TextTable, percent
from difftuning.results import Row

METRIC = "heldout_by_u"


def noise_table(rows: Sequence[Row]) -> TextTable | None:
    """The means over all runs, then how each method changes them against standard fine-tuning; None where nothing was measured.

    A change is the mean of those of the pairs that share target, seed and setting; a method without pairs has none. Where no
    method has any, every line is of means.
    """
    found: dict[str, dict[float, dict[tuple[str, int, str], float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row.metric == METRIC:
            rest = {key: value for key, value in row.setting.items() if key != "u"}
            found[row.method][float(str(row.setting["u"]))][row.target, row.seed, str(sorted(rest.items()))] = row.value
    bins = sorted({u for of_method in found.values() for u in of_method})
    base = found.get(BASELINE, {})
    changes = {
        name: [
            [of_method[u][run] / base[u][run] - 1 for run in of_method[u].keys() & base.get(u, {}).keys()] for u in bins
        ]
        for name, of_method in found.items()
        if name != BASELINE
    }
    paired = {name: bins_ for name, bins_ in changes.items() if all(bins_)}
    means = [BASELINE] if paired else list(found)
    lines = [(name, *(f"{fmean(found[name][u].values()):.4g}" for u in bins)) for name in means]
    lines += [(f"{name} against {BASELINE}", *(percent(fmean(one)) for one in bins_)) for name, bins_ in paired.items()]
    return TextTable(("u", *(f"{u:.2f}" for u in bins)), tuple(lines)) if bins else None
