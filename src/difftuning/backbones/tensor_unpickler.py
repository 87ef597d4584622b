"""Reading the pickles in which networks were published: tensors, numbers, texts and containers, and no code.

The files of Karras et al. hold modules with their source beside them, which their own reader executes. Here a module becomes a
`Record`: the name of its class and its attributes. Only the names below are known; see `pickle_machine` for why that is safe.
"""

from __future__ import annotations

import io
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from difftuning.backbones.pickle_machine import Named, Names, Record, run
from difftuning.errors import ModelError

FILE_BYTES = 16 * 2**30
"""Of the whole file; the largest published network has 1.2 GB."""
DIMENSIONS = 8
"""Of a tensor or an array."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""How torch's files began before they were zip files; a storage inside a pickle still begins so."""

STORAGE_STEPS = 200
"""Instructions of each of the small pickles in front of a storage's numbers."""

STORAGES: dict[str, torch.dtype] = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
ARRAY_TYPES = frozenset("f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split())
"""Numbers that numpy's scalars and arrays may hold; never objects."""


def read_pickle(path: Path) -> Any:
    """What a pickle holds.

    Args:
        path: the file, which is only read.

    Returns:
        Dicts, lists, tuples, sets, texts, bytes, numbers, `Tensor` on the CPU, numpy's arrays and scalars, and `Record`.

    Raises:
        ModelError: the file cannot be read, is damaged, or holds anything else.
    """
    try:
        if not path.is_file():
            raise ModelError("there is no such file")
        size = path.stat().st_size
        if size > FILE_BYTES:
            raise ModelError(f"it has more than {FILE_BYTES // 2**30} GiB, which no published network has")
        with path.open("rb") as file:
            return run(file, _names(_Allowance(size)))
    except OSError as reason:
        raise ModelError(f"{path} cannot be read ({reason.strerror})") from reason
    except ModelError as reason:
        raise ModelError(f"{path}: {reason}") from reason


class _Allowance:
    """The bytes that a file may still unpack: no more than it has, so that naming one part many times makes nothing large."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError("it unpacks to more than it holds")


def _sizes(given: Any, what: str) -> tuple[int, ...]:
    """Whole numbers from 0 up, a few of them."""
    if type(given) is not tuple or len(given) > DIMENSIONS or any(type(one) is not int or one < 0 for one in given):
        raise ValueError(f"a tensor whose {what} is no tuple of at most {DIMENSIONS} whole numbers from 0 up")
    return given


def _storage(allowance: _Allowance, content: Any) -> Tensor:
    """(n,) the numbers in the bytes of a storage: five small pickles in a row, then a count and the numbers."""
    if not isinstance(content, bytes):
        raise ValueError(f"a storage of {type(content).__name__} and not of bytes")
    allowance.take(len(content))
    file = io.BytesIO(content)
    inner = Names({}, frozenset(STORAGES), {}, persistent=_announced)
    magic, protocol, system, announced, keys = (run(file, inner, STORAGE_STEPS) for _ in range(5))
    if (magic, protocol) != (LEGACY_MAGIC, 1001) or not isinstance(system, dict) or not isinstance(announced, tuple):
        raise ValueError("a storage that does not begin as torch's do")
    if not system.get("little_endian"):
        raise ValueError("a storage of a big-endian machine")
    key, dtype, count = announced
    begin = file.tell() + 8
    if keys != [key] or int.from_bytes(content[begin - 8 : begin], "little", signed=True) != count:
        raise ValueError("a storage whose count is not what it announces")
    if len(content) != begin + count * dtype.itemsize:
        raise ValueError(f"a storage of {len(content) - begin} bytes for {count} numbers of {dtype.itemsize} bytes")
    if not count:
        return torch.zeros(0, dtype=dtype)
    return torch.frombuffer(bytearray(content[begin:]), dtype=dtype)


def _announced(identifier: Any) -> tuple[str, torch.dtype, int]:
    """Key, type and count of the one storage in such bytes; on which device it was does not matter."""
    if not isinstance(identifier, tuple) or len(identifier) != 6:
        raise ValueError("a storage that is announced by something else")
    word, kind, key, _, count, view = identifier
    if word != "storage" or view is not None or not isinstance(kind, Named) or not isinstance(key, str):
        raise ValueError("a storage that is announced wrongly")
    (count,) = _sizes((count,), "count")
    return key, STORAGES[str(kind)], count


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage that stays inside of it, and is no larger than it (a stride of 0 would make it so)."""
    size, stride = _sizes(size, "size"), _sizes(stride, "stride")
    (offset,) = _sizes((offset,), "offset")
    if not isinstance(storage, Tensor) or storage.ndim != 1 or len(size) != len(stride):
        raise ValueError("a tensor without a storage, or with a size and a stride that do not fit")
    numbers, last = 1, offset
    for length, step in zip(size, stride, strict=True):
        numbers *= length
        last += max(length - 1, 0) * step
    if numbers > len(storage) or (numbers and last >= len(storage)) or last >= 2**62:
        raise ValueError(f"a tensor of size {size} that reaches beyond the {len(storage)} numbers of its storage")
    return storage.as_strided(size, stride, offset if numbers else 0)


def _parameter(data: Any, *_: Any) -> Tensor:
    """Its numbers; whether it trains is not kept."""
    if not isinstance(data, Tensor):
        raise ValueError(f"a parameter that is a {type(data).__name__}")
    return data


def _array_type(code: Any, *_: Any) -> np.dtype[Any]:
    if not isinstance(code, str) or code not in ARRAY_TYPES:
        raise ValueError("a type of numpy that is no plain number")
    return np.dtype(code)


def _array_type_state(_: np.dtype[Any], state: Any) -> None:
    """Its byte order, which has to be this machine's; there is nothing else in it."""
    mine = "<" if sys.byteorder == "little" else ">"
    if (
        not isinstance(state, tuple)
        or len(state) < 5
        or state[1] not in (mine, "|", "=")
        or any(part is not None for part in state[2:5])
    ):
        raise ValueError("a type of numpy with fields, or of another byte order")


def _scalar(kind: Any, content: Any) -> Any:
    if not isinstance(kind, np.dtype) or not isinstance(content, bytes) or len(content) != kind.itemsize:
        raise ValueError("a number of numpy without its bytes")
    return np.frombuffer(content, dtype=kind)[0]


def _array(kind: Any, *_: Any) -> np.ndarray[Any, Any]:
    """An empty array; `_array_state` fills it."""
    if kind != Named("numpy", "ndarray"):
        raise ValueError("an array of another class")
    return np.zeros(0, dtype=np.uint8)


def _array_state(allowance: _Allowance, array: np.ndarray[Any, Any], state: Any) -> None:
    _, size, kind, columns_first, content = state
    size = _sizes(size, "size")
    if not isinstance(kind, np.dtype) or not isinstance(content, bytes) or type(columns_first) is not bool:
        raise ValueError("an array without its bytes")
    allowance.take(len(content))
    numbers = 1
    for length in size:
        numbers *= length
    if numbers * kind.itemsize != len(content):
        raise ValueError(f"an array of {len(content)} bytes for the size {size}")
    array.__setstate__((1, size, kind, columns_first, content))  # type: ignore[arg-type]  # Python's bool does too


def _module(kind: str, *_: Any) -> Record:
    return Record(kind)


def _persistent_object(described: Any) -> Record:
    """A module that Karras et al. store as its class's name, source and state; the source stays a text that nobody runs."""
    if not isinstance(described, dict) or described.get("type") != "class":
        raise ValueError("a stored module without its class")
    kind, state = described.get("class_name"), described.get("state")
    if not isinstance(kind, str) or not isinstance(state, dict):
        raise ValueError("a stored module without its class or its state")
    return Record(kind, state)


def _record_state(record: Record, state: Any) -> None:
    if not isinstance(state, dict) or record.state:
        raise ValueError("a module whose state is no dict, or is given twice")
    record.state = state


def _dict_state(_: dict[Any, Any], state: Any) -> None:
    if state:
        raise ValueError("a dict with attributes")


def _text_bytes(allowance: _Allowance, text: Any, encoding: Any) -> bytes:
    """How bytes look in pickles of the time of Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes in an unknown encoding")
    allowance.take(len(text))
    return text.encode("latin1")


def _empty(kind: type, *content: Any) -> Any:
    """An empty container, which pickles fill afterwards."""
    if content:
        raise ValueError(f"a {kind.__name__} that is made with its content")
    return kind()


_CONTAINERS = ("ModuleDict", "ModuleList", "Sequential")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")  # before numpy 2, and since


def _names(allowance: _Allowance) -> Names:
    """All that a file may name."""
    calls: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": partial(_empty, OrderedDict),
        "__builtin__.bytes": partial(_empty, bytes),
        "_codecs.encode": partial(_text_bytes, allowance),
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch.storage._load_from_bytes": partial(_storage, allowance),
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
        "dnnlib.util.EasyDict": partial(_empty, dict),
        "numpy.dtype": _array_type,
        **{f"{home}.scalar": _scalar for home in _NUMPY},
        **{f"{home}._reconstruct": _array for home in _NUMPY},
        **{f"torch.nn.modules.container.{name}": partial(_module, name) for name in _CONTAINERS},
    }
    states: dict[type, Callable[[Any, Any], None]] = {
        Record: _record_state,
        dict: _dict_state,
        np.ndarray: partial(_array_state, allowance),
        **{type(np.dtype(code)): _array_type_state for code in ARRAY_TYPES},
    }
    return Names(calls, frozenset(["numpy.ndarray"]), states)
