"""A reader of pickles that never imports or calls what a file names.

A pickle is a program for a small stack machine, whose usual form looks up any function by name and calls it. Here a name stays an
inert `Named`, and the only functions that are ever called are those of ours that `Names` puts in the place of a name. `pickletools`
splits the file into instructions and runs nothing. There is no recursion, and steps and sizes are bounded.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from difftuning.errors import ModelError

STEPS = 2_000_000
"""Instructions that a file may have; the largest published network needs about 30 thousand."""
LINE_BYTES = 4096
"""Of an instruction that ends with its line."""
INTEGER_BYTES = 16
"""Of a number; longer ones are no part of a network, and slow to print."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a file calls by a name: never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class Record:
    """An object of a class that stays unknown.

    Attributes:
        kind: the name of its class.
        state: its attributes, where the file gives them.
    """

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Names:
    """All that a file may name.

    Attributes:
        calls: dotted name to the function of ours that is called in its place.
        types: dotted names that are mentioned and never called.
        states: exact type of an object to the function of ours that gives it its state.
        persistent: answers the persistent identifiers of torch's files; None refuses them.
    """

    calls: Mapping[str, Callable[..., Any]]
    types: frozenset[str]
    states: Mapping[type, Callable[[Any, Any], None]]
    persistent: Callable[[Any], Any] | None = None


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_SILENT = frozenset(["PROTO", "FRAME"])


class _Bounded:
    """A file that never gives, or makes room for, more than is left of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        here = file.tell()
        self._end = file.seek(0, 2)
        file.seek(here)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._end - self._file.tell()) if size >= 0 else 0)

    def readline(self) -> bytes:
        return self._file.readline(LINE_BYTES)

    def tell(self) -> int:
        return self._file.tell()


def run(file: BinaryIO, names: Names, limit: int = STEPS) -> Any:
    """The object that a pickle describes.

    Args:
        file: stands at the start of the pickle, and behind its end afterwards.
        names: all that it may name; what stands for them must not run anything of the file's either.
        limit: instructions that it may have.

    Raises:
        ModelError: the file is cut off, too large, malformed, or asks for anything that is not in `names`.
    """
    machine = _Machine(names)
    try:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(_Bounded(file))):  # type: ignore[arg-type]
            if steps >= limit:
                raise ModelError(f"the pickle has more than {limit} instructions; it is no network")
            if opcode.name == "STOP":
                break
            machine.step(opcode.name, argument)
        return machine.result()
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError, RuntimeError) as reason:
        raise ModelError(
            f"no pickle, or a damaged one ({type(reason).__name__}: {str(reason)[:200]}); fetch it again"
        ) from reason


class _Machine:
    """The stack, and what each instruction does to it."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """What is left at the end."""
        if len(self._stack) != 1:
            raise ValueError(f"{len(self._stack)} objects are left at its end")
        return self._pop()

    def _pop(self) -> Any:
        top = self._stack.pop()
        if top is _MARK:
            raise ValueError("a mark where an object is expected")
        return top

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise ValueError(f"something is added to what is no {kind.__name__}")
        return self._stack[-1]

    def _to_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                found = self._stack[index + 1 :]
                del self._stack[index:]
                return found
        raise ValueError("no mark where one is expected")

    def step(self, name: str, argument: Any) -> None:
        """Do one instruction."""
        stack, memo = self._stack, self._memo
        if name in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > 8 * INTEGER_BYTES:
                raise ValueError(f"a number of {argument.bit_length()} bits")
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            top = self._pop()
            stack.append(top)
            memo[len(memo) if name == "MEMOIZE" else argument] = top
        elif name in _TUPLES:
            items = tuple(self._pop() for _ in range(_TUPLES[name]))
            stack.append(items[::-1])
        elif name == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif name == "LIST":
            stack.append(self._to_mark())
        elif name in ("APPEND", "APPENDS"):
            items = [self._pop()] if name == "APPEND" else self._to_mark()  # type: ignore[assignment]
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            pairs = [self._pop(), self._pop()][::-1] if name == "SETITEM" else self._to_mark()
            into = self._top(dict)
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                into[_plain(key)] = value
        elif name == "DICT":
            pairs = self._to_mark()
            stack.append({_plain(key): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)})
        elif name == "ADDITEMS":
            items = self._to_mark()  # type: ignore[assignment]
            self._top(set).update(_plain(item) for item in items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._name(argument if name == "GLOBAL" else None))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = self._pop(), self._pop()
            stack.append(self._call(called, arguments))
        elif name == "BUILD":
            state = self._pop()
            self._build(stack[-1], state)
        elif name == "BINPERSID" and self._names.persistent is not None:
            stack.append(self._names.persistent(self._pop()))
        elif name == "POP":
            stack.pop()
        elif name not in _SILENT:
            raise ModelError(f"the pickle has the instruction {name}, which no network's file needs; it is refused")

    def _name(self, argument: str | None) -> Named:
        if argument is None:
            name, module = self._pop(), self._pop()
        else:
            module, _, name = argument.partition(" ")
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name that is no text")
        found = Named(module, name)
        if str(found) not in self._names.calls and str(found) not in self._names.types:
            raise ModelError(
                f"the pickle asks for {str(found)[:160]!r}, which is no part of a network; it is refused and nothing was run"
            )
        return found

    def _call(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, Named) or not isinstance(arguments, tuple) or str(called) not in self._names.calls:
            what = str(called) if isinstance(called, Named) else f"an object of type {type(called).__name__}"
            raise ModelError(f"the pickle calls {what}; it is refused and nothing was run")
        return self._names.calls[str(called)](*arguments)

    def _build(self, target: Any, state: Any) -> None:
        if type(target) not in self._names.states:
            raise ModelError(f"the pickle sets the state of an object of type {type(target).__name__}; it is refused")
        self._names.states[type(target)](target, state)


def _plain(key: Any) -> Any:
    """A key, unless hashing it could run deep (a tuple of tuples) or mean anything else."""
    if type(key) not in (str, int, float, bool, bytes, type(None)):
        raise ValueError(f"a {type(key).__name__} as a key")
    return key
