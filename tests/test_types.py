"""A condition and its copy on the host stay one."""

from __future__ import annotations

import pytest
import torch

from difftuning.types import Condition

LABELS = torch.tensor([3, 1, 2])


def test_what_is_done_to_the_labels_is_done_to_their_copy() -> None:
    moved = Condition(LABELS).to("meta")
    assert moved.labels.is_meta
    assert moved.rows() == [3, 1, 2]
    assert moved[1:].rows() == [1, 2]
    assert moved[torch.tensor([2, 0])].rows() == [2, 3]
    assert moved.under(7).rows() == [7, 7, 7]
    assert moved.translated(torch.tensor([10, 11, 12, 13])).rows() == [13, 11, 12]
    assert Condition.cat([moved, moved[:1]]).rows() == [3, 1, 2, 3]
    assert moved.to("meta").rows() == [3, 1, 2]


def test_a_copy_that_cannot_follow_is_dropped() -> None:
    """An index that lies on a device picks nothing from the host: the labels themselves are looked at then."""
    moved = Condition(LABELS).to("meta")
    picked = moved[torch.tensor([0, 2], device="meta")]
    assert picked.host is None
    assert picked.labels.shape == (2,)
    with pytest.raises(NotImplementedError):
        picked.rows()
    assert Condition.cat([moved, Condition(LABELS.to("meta"))]).host is None
