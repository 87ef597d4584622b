"""Obedience where it is known: the control's own image obeys, another one does not, in between it is between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftuning.data.controls import ANNOTATORS
from difftuning.evaluation.control_consistency import MEASURES, accuracy, consistency, similarity, squared_error


def pictures(count: int = 6, side: int = 32) -> Tensor:
    """(count, 3, side, side) uint8: a dark square at another place in each."""
    images = torch.full((count, 3, side, side), 240, dtype=torch.uint8)
    for index in range(count):
        at = 2 + 3 * index
        images[index, :, at : at + 12, at : at + 12] = torch.tensor([200, 30, 30], dtype=torch.uint8)[:, None, None]
    return images


@pytest.mark.parametrize("kind", ANNOTATORS)
def test_the_image_of_a_control_obeys_it_best(kind: str) -> None:
    images, annotate = pictures(), ANNOTATORS[kind]
    wanted = annotate(images)
    own, others = consistency(kind, wanted, images, annotate), consistency(kind, wanted, images.roll(3, 0), annotate)
    assert torch.allclose(own, torch.ones(6), atol=1e-6)
    assert bool((others < own - 0.05).all())
    near = consistency(kind, wanted, images.roll(1, dims=-1), annotate)
    assert bool((near > others).all())


def test_a_line_that_is_a_pixel_off_is_nearly_right() -> None:
    line = torch.zeros(1, 1, 32, 32)
    line[..., 15] = 1
    scores = [float(similarity(line, line.roll(shift, -1))) for shift in (0, 1, 4, 8)]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] > 0.8
    assert scores[3] < 0.6


def test_errors_and_shares_in_closed_form() -> None:
    wanted, found = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    found[1, :, :2] = 0.5
    assert squared_error(wanted, found).tolist() == [0, 0.125]
    assert accuracy(wanted, found).tolist() == [1, 0.5]


def test_every_annotator_has_a_measure() -> None:
    assert {*ANNOTATORS} <= MEASURES.keys()
    assert {kind for kind, measure in MEASURES.items() if not measure.higher} == {"depth", "normal"}
