"""An adaptive psi: standard fine-tuning until something is known, then what a probe of the same errors would advise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from difftuning.coefficients.families import Measured
from difftuning.diagnosis.adaptive_chain import AdaptiveChain
from difftuning.diagnosis.advise import LEAST_RETENTION, measured_psi
from difftuning.errors import CheckpointError
from difftuning.training.prefetch import Prefetched
from training.shared import latents, streams

BEFORE, LATER = (1.0, 1.0, 1.0, 1.0), ((0.999, 0.99, 0.98, 0.5), (1.0, 0.98, 0.95, 0.4), (1.1, 1.1, 1.0, 0.6))
U = torch.linspace(0, 1, 101)


def seen(whole_target: bool = False, **changes: Any) -> AdaptiveChain:
    """Measured at 0, 10, 20, 30."""
    chain = AdaptiveChain(whole_target, **changes)
    for step, errors in zip((0, 10, 20, 30), (BEFORE, *LATER), strict=True):
        chain.see(step, errors)
    return chain


@pytest.mark.parametrize("whole_target", [False, True])
def test_it_is_standard_fine_tuning_until_the_error_was_measured_twice(whole_target: bool) -> None:
    for chain in (AdaptiveChain(whole_target), seen(whole_target)):
        # What is measured after 10 steps counts from the step behind the one that may have been under way.
        for step in range(11):
            assert bool((chain.at(step).psi(U) == 1).all())
            assert not chain.at(step).uses_bank


def test_then_it_is_what_a_probe_with_these_errors_advises() -> None:
    chain, beside = seen(), seen(whole_target=True)
    for step, known in ((11, 1), (20, 1), (21, 2), (30, 2), (31, 3), (999, 3)):
        psi, all_of_it = (
            Measured(measured_psi(BEFORE, LATER[:known], goes_on=True, least_retention=least))(U)
            for least in (LEAST_RETENTION, 1.0)
        )
        assert torch.equal(chain.at(step).psi(U), psi)
        assert torch.equal(chain.at(step).xi(U), 1 - psi)
        assert torch.equal(beside.at(step).xi(U), 1 - all_of_it)
        assert bool((beside.at(step).psi(U) == 1).all())
    # The error has risen: where retention takes from the target a part of it is retained, and all of it where it takes nothing.
    assert chain.at(31).psi(U).max() == pytest.approx(1 - LEAST_RETENTION)
    assert bool((beside.at(31).xi(U) == 1).all())


def test_a_step_that_is_measured_again_takes_the_place_of_what_came_after_it() -> None:
    chain = seen()
    chain.see(20, LATER[1])
    assert [step for step, _ in chain.curves] == [0, 10, 20]
    assert torch.equal(chain.at(99).psi(U), Measured(measured_psi(BEFORE, LATER[:2], goes_on=True))(U))


def test_it_goes_on_from_what_a_checkpoint_kept() -> None:
    chain = AdaptiveChain()
    chain.at(5)
    chain.take(seen().state())
    assert chain.curves == seen().curves
    assert torch.equal(chain.at(25).psi(U), seen().at(25).psi(U))
    with pytest.raises(CheckpointError, match="does not hold the held-out errors"):
        chain.take(None)


class Numbered:
    """Bank items in memory."""

    def __len__(self) -> int:
        return 20

    def get(self, indices: Tensor) -> Tensor:
        """(n, 3, 8, 8), each its number."""
        return indices.float()[:, None, None, None].expand(-1, 3, 8, 8)


def test_batches_made_ahead_are_those_made_when_asked_for() -> None:
    def run(prefetched: bool) -> list[Tensor]:
        chain = AdaptiveChain(whole_target=True)
        drawn: Any = streams(latents(), Numbered(), chain=chain)
        source = Prefetched(drawn) if prefetched else drawn
        found, positions = [], (0, 0)
        for step in range(32):
            if step in (0, 10, 20, 30):
                chain.see(step, (BEFORE, *LATER)[step // 10])
            batch = source.batch(step, positions)
            used = int(batch.draw.from_bank.sum())
            positions = (positions[0] + len(batch) - used, positions[1] + used)
            found.append(batch.x0)
        assert positions[1] > 0
        return found

    assert all(torch.equal(*pair) for pair in zip(run(True), run(False), strict=True))
