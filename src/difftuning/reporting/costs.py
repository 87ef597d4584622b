"""What runs cost, stage by stage, as a table."""

from __future__ import annotations

from collections.abc import Mapping

from difftuning.reporting.text_table import TextTable

BANK = "drawing the bank"
"""The stage that standard fine-tuning does not have."""


def costs(seconds: Mapping[str, Mapping[str, float]], method: str, baseline: str) -> TextTable:
    """Seconds of each stage and method, their sums where there are several, and the ratio of the method to the baseline.

    Sums of other stages, but for the bank, have no ratio.

    Args:
        seconds: stage -> method -> seconds; a stage that a method does not have is left out there.
        method: the numerator of the ratio.
        baseline: its denominator.
    """
    methods = tuple(dict.fromkeys(name for stage in seconds.values() for name in stage))
    sums = {name: sum(stage.get(name, 0.0) for stage in seconds.values()) for name in methods}
    compared = method in methods and baseline in methods
    stages = {name: {stage for stage, found in seconds.items() if name in found} - {BANK} for name in methods}

    def line(label: str, values: Mapping[str, float], alike: bool = True) -> tuple[str, ...]:
        texts = [f"{values[name]:.1f} s" if name in values else "" for name in methods]
        if compared:
            both = (values.get(method), values.get(baseline)) if alike else (None, None)
            texts.append(f"{both[0] / both[1]:.3f}" if both[0] is not None and both[1] else "")
        return (label, *texts)

    head = ("", *methods, *((f"{method} / {baseline}",) if compared else ()))
    lines = [line(stage, values) for stage, values in seconds.items()]
    return TextTable(
        head,
        (*lines, *([line("all stages", sums, stages.get(method) == stages.get(baseline))] if len(seconds) > 1 else [])),
    )
