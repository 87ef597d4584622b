"""Recipe files: YAML and TOML by suffix, read without surprises, written so that they read back the same.

YAML is read by the rules of YAML 1.2: `1e-4` is a number, `no` and `on` are words, a key may stand only once.
PyYAML follows YAML 1.1, where `1e-4` is text, `no` is false and the last of two equal keys wins in silence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from difftuning.errors import ConfigError, did_you_mean

SUFFIXES = (".yaml", ".yml", ".toml")

_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_CORE_SCHEMA: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), "~nN\0"),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("int", re.compile(r"^[-+]?(?:[0-9]+|0x[0-9a-fA-F]+)$"), "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
)


ALIASES = 32
"""References to anchors that a YAML text may have: a few dozen of them in each other are more values than memory holds."""


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2, refusing a key that stands twice and references without end."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own class table

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > ALIASES:
                raise yaml.composer.ComposerError(
                    None, None, f"more than {ALIASES} references (*name)", self.get_mark()
                )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """The safe dumper, quoting every text that YAML 1.2 would read as something else."""


for _tag, _pattern, _first in _CORE_SCHEMA:
    # PyYAML files a resolver under the first characters it can start with; the empty scalar is filed under "".
    _characters = ["" if character == "\0" else character for character in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _characters)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _characters)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 16 if "0x" in text else 10)


# PyYAML's own would read 010 as eight.
_Loader.add_constructor("tag:yaml.org,2002:int", _int)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text.

    Args:
        text: the YAML.
        where: what the text is, for the error.

    Raises:
        ConfigError: it is not YAML, or a key stands twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as reason:
        line = "" if reason.problem_mark is None else f", line {reason.problem_mark.line + 1}"
        raise ConfigError(f"{where}{line}: {reason.problem or 'not YAML'}") from reason
    except RecursionError as reason:
        raise ConfigError(f"{where} is nested too deeply") from reason
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as reason:
        # Explicit tags (!!int, !!timestamp, ...) on texts that do not fit them fail in their own ways.
        raise ConfigError(f"{where} is not YAML: {' '.join(str(reason).split())}") from reason


def load_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe file.

    Args:
        path: a file that ends in .yaml, .yml or .toml.

    Returns:
        Its keys and values, unchecked; an empty file is an empty recipe.

    Raises:
        ConfigError: the file is missing, of another kind, or not a mapping.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"recipe {str(path)!r} must end in one of {', '.join(SUFFIXES)}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as reason:
        beside = [other.name for suffix in SUFFIXES for other in path.parent.glob(f"*{suffix}")]
        raise ConfigError(f"there is no recipe file {str(path)!r}{did_you_mean(path.name, beside)}") from reason
    except (OSError, UnicodeDecodeError) as reason:
        raise ConfigError(f"recipe {str(path)!r} cannot be read: {reason}") from reason
    if path.suffix.lower() == ".toml":
        try:
            return tomllib.loads(text)
        except (
            ValueError,
            RecursionError,
        ) as reason:  # a TOMLDecodeError, or a number or a nesting beyond Python's limits
            raise ConfigError(f"recipe {str(path)!r} is not TOML: {reason}") from reason
    found = parse_yaml(text, f"recipe {str(path)!r}")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"recipe {str(path)!r} must be keys with values, not {type(found).__name__}")
    return found


def dump_recipe(recipe: Mapping[str, Any]) -> str:
    """A recipe as YAML, keys in their own order; `load_recipe` reads the same values back."""
    return yaml.dump(dict(recipe), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
