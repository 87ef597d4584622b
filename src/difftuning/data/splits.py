"""Which images are trained on, held out, and kept for tests: a pure function of seed, content and label."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from difftuning.errors import DataError


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of images, each in ascending order, no image in two parts.

    Attributes:
        train: to train on.
        heldout: to measure the error on.
        test: what a few-shot split leaves over; empty when all the rest is trained on.
    """

    train: tuple[int, ...]
    heldout: tuple[int, ...]
    test: tuple[int, ...]


def split(
    keys: Sequence[str],
    labels: Sequence[int],
    heldout: float,
    per_class: int | None,
    seed: int,
    name: str = "the data set",
    groups: Sequence[str] | None = None,
) -> Split:
    """Split each class: the images of lowest rank are held out, the next ones trained on, the rest kept for tests.

    An image's rank is a hash of (seed, its content), so neither file names nor the order of files matter, and an added
    image moves few others. Copies of an image count once and stay together, so none is both trained on and held out.

    Args:
        keys: N content digests.
        labels: N classes; of copies under unequal labels the first one's decides.
        heldout: below 1 the share of each class, from 1 on how many of each class; at least one stays to train on.
        per_class: how many distinct images of each class to train on; None for all that are not held out.
        seed: of the ranks.
        name: of the data set, for messages.
        groups: N names; images of one group, such as the frames of one scene, are not both trained on and held out, whatever their
            classes. How many are held out is then told over all classes. None for each image by itself.

    Raises:
        DataError: there are too few images to hold any out.
    """
    copies: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        copies.setdefault(key, []).append(index)
    classes: dict[int, list[str]] = {}
    for key, indices in copies.items():
        classes.setdefault(labels[indices[0]], []).append(key)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])

    def rank(text: str) -> bytes:
        return hashlib.sha256(f"{seed}/{text}".encode()).digest()

    wanted = {
        label: min(max(1, round(heldout * len(keys))) if heldout < 1 else int(heldout), len(keys) - 1)
        for label, keys in classes.items()
    }
    together: set[str] | None = None
    if groups is not None:
        scenes: dict[str, list[int]] = {}
        for label, members in classes.items():
            for key in members:
                scenes.setdefault(groups[copies[key][0]], []).append(label)
        together = _held_groups(dict(sorted(scenes.items(), key=lambda scene: rank(scene[0]))), sum(wanted.values()))
    for label, members in classes.items():
        ranked = sorted(members, key=rank)
        if together is None:
            held = ranked[: wanted[label]]
        else:
            held = [key for key in ranked if groups is not None and groups[copies[key][0]] in together]
        out = set(held)
        rest = [key for key in ranked if key not in out]
        stop = len(rest) if per_class is None else per_class
        for part, chosen in zip(parts, (rest[:stop], held, rest[stop:]), strict=True):
            part.extend(index for key in chosen for index in copies[key])
    if not parts[1]:
        found, needed = (
            f"{name} holds {len(copies)} distinct image(s) in {len(classes)} class(es)",
            "two images at least",
        )
        if groups is not None:
            found, needed = f"{found} and {len({*groups})} group(s)", "images of two groups at least"
        raise DataError(f"{found}, too few to hold any out; a class with {needed} is needed")
    train, held_out, test = (tuple(sorted(part)) for part in parts)
    return Split(train, held_out, test)


def _held_groups(groups: Mapping[str, Sequence[int]], wanted: int) -> set[str]:
    """The first groups whose images come nearest to so many, but none that would leave a class without any to train on.

    Where each group alone is too many, it is the smallest.

    Args:
        groups: name -> the class of each of its images, in the order in which they are taken.
        wanted: images to hold out.
    """
    left = Counter(label for labels in groups.values() for label in labels)

    def to_spare(labels: Sequence[int]) -> bool:
        return all(left[label] > taken for label, taken in Counter(labels).items())

    spare = [name for name, labels in groups.items() if to_spare(labels)]
    held: set[str] = set()
    count = 0
    for name, labels in groups.items():
        if abs(count + len(labels) - wanted) < abs(count - wanted) and to_spare(labels):
            left -= Counter(labels)
            held.add(name)
            count += len(labels)
    return held or set(sorted(spare, key=lambda name: len(groups[name]))[:1])
