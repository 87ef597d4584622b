"""What a model knows of every phase after every phase, and what that says of forgetting and of transfer.

R[i][j] is the error (lower is better) on phase j of the model after phase i; i = 0 is the pretrained model. After Lopez-Paz and
Ranzato 2017 (arXiv 1706.08840), with the sign of an error, and as a share, since domains differ in how hard they are:

    forgetting of j after i        R[i][j] / R[j][j] - 1     i > j     their backward transfer, turned round
    forward transfer to j after i  R[i][j] / R[0][j] - 1     i < j     below 0: what was learned helps before j is seen
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

ERRORS = ("heldout", "frechet", "fid")
"""Metrics that are lower the better and above zero, so that a share above one of them says something."""
Grid = list[list[float | None]]
"""K + 1 rows (the pretrained model, then the model after each phase) of K columns (the phases); None where nothing is."""


@dataclass(frozen=True)
class Matrix:
    """One measure of every model on every phase.

    Attributes:
        phases: their names in order.
        values: R; entries that were not measured are None.
    """

    phases: tuple[str, ...]
    values: Grid

    @classmethod
    def of(cls, phases: tuple[str, ...], found: Mapping[tuple[int, int], float]) -> Matrix:
        """From values by (i, j), i from 0 to K and j from 1 to K."""
        count = len(phases)
        return cls(phases, [[found.get((i, j)) for j in range(1, count + 1)] for i in range(count + 1)])

    def at(self, after: int, on: int) -> float | None:
        """R[after][on], phases counted from 1."""
        return self.values[after][on - 1]

    def forgetting(self) -> Grid:
        """Of each phase after each later one; None elsewhere."""
        return self._changes(lambda after, on: on if after > on else None)

    def forward(self) -> Grid:
        """To each phase after each earlier one; None elsewhere."""
        return self._changes(lambda after, on: 0 if 0 < after < on else None)

    def mean_forgetting(self) -> float | None:
        """Over all phases but the last, after the last; None for a single phase."""
        return _mean(self.forgetting()[-1])

    def mean_forward(self) -> float | None:
        """Over all phases but the first, by the model just before each; None where nothing was measured."""
        grid = self.forward()
        return _mean([grid[on - 1][on - 1] for on in range(2, len(self.phases) + 1)])

    def _changes(self, base: Callable[[int, int], int | None]) -> Grid:
        """Each entry as a share above that on the same phase after phase `base(after, on)`."""
        grid: Grid = []
        for after in range(len(self.values)):
            line: list[float | None] = []
            for on in range(1, len(self.phases) + 1):
                against = base(after, on)
                start = None if against is None else self.at(against, on)
                value = self.at(after, on)
                line.append(value / start - 1 if value is not None and start else None)
            grid.append(line)
        return grid


def _follows(matrix: Matrix) -> dict[str, Any]:
    return {
        "forgetting": matrix.forgetting(),
        "forward_transfer": matrix.forward(),
        "mean_forgetting": matrix.mean_forgetting(),
        "mean_forward_transfer": matrix.mean_forward(),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


@dataclass(frozen=True)
class Measured:
    """What was measured of a stream.

    Attributes:
        phases: their names in order.
        network: the feature network behind distances.
        samples: images behind each distance.
        matrices: metric to R: the held-out error of every model on every phase, distances on those that it has been through.
        cumulative: after each phase, metric to value on the held-out images of all phases so far.
        banks: of each phase, what its bank is compared with (the first bank, each phase) -> metric to value; empty where the
            method has no bank from the first phase on.
    """

    phases: tuple[str, ...]
    network: str
    samples: int
    matrices: Mapping[str, Matrix]
    cumulative: Sequence[Mapping[str, float]]
    banks: Mapping[str, Mapping[str, Mapping[str, float]]]

    def summary(self) -> dict[str, Any]:
        """As plain values: the matrices with what follows from them, the cumulative measures and the banks."""
        matrices = {
            metric: {
                "values": matrix.values,
                **(_follows(matrix) if metric in ERRORS else {}),
            }
            for metric, matrix in self.matrices.items()
        }
        facts = {"phases": list(self.phases), "network": self.network, "samples": self.samples}
        return {**facts, "matrices": matrices, "cumulative": list(self.cumulative), "banks": dict(self.banks)}
