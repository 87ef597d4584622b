from __future__ import annotations

import hashlib
import random

import pytest

from difftuning.data.splits import split
from difftuning.errors import DataError

KEYS = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(60)]
LABELS = [index % 3 for index in range(60)]


def test_few_shot_parts_are_disjoint_complete_and_balanced() -> None:
    parts = split(KEYS, LABELS, heldout=0.2, per_class=5, seed=0)
    assert sorted(parts.train + parts.heldout + parts.test) == list(range(60))
    assert [sum(LABELS[index] == label for index in parts.train) for label in range(3)] == [5, 5, 5]
    assert [sum(LABELS[index] == label for index in parts.heldout) for label in range(3)] == [4, 4, 4]


def test_the_order_of_files_does_not_matter() -> None:
    places = list(range(60))
    random.Random(1).shuffle(places)
    plain = split(KEYS, LABELS, 0.2, 5, seed=0)
    mixed = split([KEYS[place] for place in places], [LABELS[place] for place in places], 0.2, 5, seed=0)
    assert {KEYS[index] for index in plain.train} == {KEYS[places[index]] for index in mixed.train}
    assert {KEYS[index] for index in plain.heldout} == {KEYS[places[index]] for index in mixed.heldout}


def test_more_shots_keep_the_held_out_images_and_the_fewer_shots() -> None:
    few, many = split(KEYS, LABELS, 3, 5, seed=0), split(KEYS, LABELS, 3, 10, seed=0)
    assert few.heldout == many.heldout
    assert set(few.train) < set(many.train)
    assert split(KEYS, LABELS, 3, 5, seed=1) != few


def test_copies_stay_on_one_side() -> None:
    parts = split(KEYS + KEYS, LABELS + LABELS, 0.5, None, seed=0)
    for part in (parts.train, parts.heldout):
        assert {index % 60 for index in part if index < 60} == {index % 60 for index in part if index >= 60}


def test_one_image_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"birds holds 1 distinct image\(s\).*two images"):
        split(KEYS[:1], [0], 0.2, None, seed=0, name="birds")


def test_something_stays_to_train_on() -> None:
    parts = split(KEYS[:4], [0, 0, 1, 1], heldout=10, per_class=None, seed=0)
    assert (len(parts.train), len(parts.heldout)) == (2, 2)


def test_what_belongs_together_stays_together() -> None:
    scenes = [f"scene {index // 7}" for index in range(60)]  # 8 of 7 images and one of 4
    parts = split(KEYS, [0] * 60, heldout=0.3, per_class=None, seed=0, groups=scenes)
    assert sorted(parts.train + parts.heldout) == list(range(60))
    assert {scenes[index] for index in parts.train}.isdisjoint(scenes[index] for index in parts.heldout)
    assert abs(len(parts.heldout) - 18) <= 3.5  # the nearest border of groups
    each = split(KEYS, LABELS, 0.2, 5, seed=0, groups=[str(index) for index in range(60)])
    assert [len(part) for part in (each.train, each.heldout, each.test)] == [15, 12, 33]
    # Scenes that show several classes: a scene is on one side as a whole.
    scenes = [f"scene {index // 2 % 20}" for index in range(60)]
    parts = split(KEYS, LABELS, 0.2, None, seed=0, groups=scenes)
    assert {scenes[index] for index in parts.train}.isdisjoint(scenes[index] for index in parts.heldout)
    assert abs(len(parts.heldout) - 12) <= 3
    assert {LABELS[index] for index in parts.train} == set(LABELS)
    with pytest.raises(DataError, match=r"1 group\(s\), too few to hold any out; .* images of two groups at least"):
        split(KEYS, [0] * 60, 0.3, None, seed=0, groups=["one scene"] * 60)


@pytest.mark.parametrize("seed", range(10))
def test_large_groups_do_not_keep_others_from_being_held_out(seed: int) -> None:
    # Ten times as many as are wanted: the smallest.
    halves = ["large"] * 31 + ["small"] * 29
    assert len(split(KEYS, [0] * 60, 0.05, None, seed, groups=halves).heldout) == 29
    # One that holds most, among small ones.
    scenes = ["large"] * 40 + [f"scene {index}" for index in range(20)]
    assert len(split(KEYS, [0] * 60, 0.2, None, seed, groups=scenes).heldout) == 12
