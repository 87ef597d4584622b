"""What the bank of a phase is made of."""

from __future__ import annotations

from difftuning.continual.memory import Memory, Refresh, Static, has_risen, memory


def test_the_paper_keeps_two_fifths_of_the_first_bank_in_every_phase() -> None:
    assert [memory(Refresh(), phase, risen=False) for phase in (2, 3, 4)] == [Memory(1, 0.4)] * 3


def test_a_static_bank_is_the_first_one() -> None:
    assert [memory(Static(), phase, risen=True) for phase in (2, 3)] == [Memory(1, 1.0)] * 2


def test_on_a_schedule_the_bank_stays_as_it_is_between() -> None:
    made = [memory(Refresh(every=2, keep=0.25), phase, risen=False) for phase in (2, 3, 4, 5)]
    assert made == [Memory(1, 1.0), Memory(1, 0.25), Memory(3, 1.0), Memory(1, 0.25)]


def test_under_a_trigger_it_is_made_anew_only_where_the_error_has_risen() -> None:
    method = Refresh(rise=0.1)
    assert memory(method, 3, risen=False) == Memory(2, 1.0)
    assert memory(method, 3, risen=True) == Memory(1, 0.4)
    assert memory(Refresh(rise=0.1, every=2), 2, risen=True) == Memory(1, 1.0)


def test_an_error_has_risen_where_one_bin_lies_above_the_share() -> None:
    assert has_risen([1.0, 2.0], [1.0, 2.3], 0.1)
    assert not has_risen([1.0, 2.0], [0.5, 2.19], 0.1)
    assert not has_risen([1.0, 2.0], [1.0, 2.0], 0.0)
