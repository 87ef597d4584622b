"""Parameters and modules by name patterns; a pattern that matches nothing is an error that lists what is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from difftuning.errors import ConfigError, did_you_mean


def matching(names: Iterable[str], patterns: Sequence[str], what: str) -> list[str]:
    """The names that match any of some patterns (`*` for anything, as in file names), in their order.

    Args:
        names: of parameters or modules.
        patterns: each must match something.
        what: is looked for, for the message: "parameter", "layer".

    Raises:
        ConfigError: a pattern matches nothing.
    """
    known = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            ends = {f"*.{'.'.join(name.split('.')[-2:])}" for name in known}
            raise ConfigError(f"the pattern {pattern!r} matches no {what} of the model{did_you_mean(pattern, ends)}")
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
