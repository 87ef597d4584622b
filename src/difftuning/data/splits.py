"""Which images are trained on, held out, and kept for tests: a pure function of seed, content and label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
        groups: N names; images of one group, such as the frames of one scene, are not both trained on and held out. None for each
            image by itself.

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

    for members in classes.values():
        group = {key: key if groups is None else groups[copies[key][0]] for key in members}
        ranked = sorted(members, key=lambda key: (rank(group[key]), group[key], rank(key)))
        wanted = max(1, round(heldout * len(ranked))) if heldout < 1 else int(heldout)
        held = _border([group[key] for key in ranked], min(wanted, len(ranked) - 1))
        stop = len(ranked) if per_class is None else held + per_class
        for part, chosen in zip(parts, (ranked[held:stop], ranked[:held], ranked[stop:]), strict=True):
            part.extend(index for key in chosen for index in copies[key])
    if not parts[1]:
        raise DataError(
            f"{name} holds {len(copies)} distinct image(s) in {len(classes)} class(es), too few to hold any out; "
            "a class with two images at least is needed"
        )
    train, held_out, test = (tuple(sorted(part)) for part in parts)
    return Split(train, held_out, test)


def _border(groups: Sequence[str], wanted: int) -> int:
    """The place nearest to `wanted` at which a group ends, and not that at the very end; 0 where there is one group alone."""
    borders = [place for place in range(1, len(groups)) if groups[place] != groups[place - 1]]
    return min(borders, key=lambda place: abs(place - wanted), default=0)
