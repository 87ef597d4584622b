"""The exceptions that difftuning raises on purpose.

    DifftuningError
    |-- ConfigError        a recipe, an override or an argument is wrong
    |-- DataError          a data set or an image cannot be used
    |-- ModelError         a model folder, a label space or a prediction cannot be used
    |-- BankError          a knowledge bank is missing, damaged, or drawn from another model
    |-- CheckpointError    a checkpoint or a run folder cannot be read, written or continued
    |-- TrainingError      the training itself went wrong (a non-finite loss)
    |-- StorageError       a disk refuses what has to be written
    |-- BusyError          another process is at work on the same thing
    `-- Preempted          whoever runs the machine asked training to stop, and it has saved

Each message names the thing, the value and the mend. The command line prints one line and exits with 2; with 143 where it was asked
to stop.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DifftuningError(Exception):
    """The parent of every error that difftuning raises on purpose."""


class ConfigError(DifftuningError):
    """A recipe, an override or an argument is wrong."""


class DataError(DifftuningError):
    """A data set or an image cannot be used."""


class ModelError(DifftuningError):
    """A model folder, a label space or a prediction cannot be used."""


class BankError(DifftuningError):
    """A knowledge bank is missing, damaged, or was drawn from another model."""


class CheckpointError(DifftuningError):
    """A checkpoint or a run folder cannot be read, written or continued."""


class TrainingError(DifftuningError):
    """The training itself went wrong, for instance a loss that is not finite."""


class StorageError(DifftuningError):
    """A disk refuses what has to be written: it is full, read-only or gone."""


class BusyError(DifftuningError):
    """Another process is at work on the same thing."""


class Preempted(DifftuningError):
    """Training was asked to stop before its last step, and has saved; nothing is wrong."""


_LISTED = 16
"""Known names that a message lists."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name: the nearest known one, and those that are known, the first ones of many."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{hint} Known: {', '.join(names[:_LISTED])}{more}" if names else hint
