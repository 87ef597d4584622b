"""Pickles: what networks are stored in comes out, and hostile files end in one error with nothing run."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from difftuning.backbones import pickle_machine
from difftuning.backbones.pickle_machine import Record
from difftuning.backbones.tensor_unpickler import read_pickle
from difftuning.errors import ModelError

PROTOCOL_4 = b"\x80\x04"


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file.pkl"
    path.write_bytes(content)
    return path


class Reduced:
    """Pickles as a call of whatever it is given."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_content_comes_out_as_it_went_in(protocol: int, tmp_path: Path) -> None:
    content = {
        "numbers": [1, -2, 300, 70_000, 2**40, -(2**70), 1.5, float("inf"), True, None],
        "nested": ((), (1,), (1, 2, (3, [4, {"five": 5}]))),
        "texts": ["", "ä", "x" * 300],
        "ordered": collections.OrderedDict(b=1, a=2),
        "scalar": np.float64(0.25),
    }
    found = read_pickle(written(tmp_path, pickle.dumps(content, protocol)))
    assert found == content
    assert type(found["ordered"]) is collections.OrderedDict
    if protocol > 2:
        sets = {"set": set(), "bytes": b"\x00\xff" * 200} if protocol > 3 else {"bytes": b"\x00\xff"}
        assert read_pickle(written(tmp_path, pickle.dumps(sets, protocol))) == sets


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]
)
def test_tensors_views_and_parameters(dtype: torch.dtype, tmp_path: Path) -> None:
    whole = torch.randn(4, 6).to(dtype)
    content = {"whole": whole, "view": whole[1:, ::2].T, "empty": whole[:0], "one": whole[0, 0].clone()}
    if dtype.is_floating_point:
        content["parameter"] = torch.nn.Parameter(whole)
    found = read_pickle(written(tmp_path, pickle.dumps(content, 4)))
    assert all(torch.equal(found[name], value) and found[name].dtype == dtype for name, value in content.items())


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_numbers(protocol: int, tmp_path: Path) -> None:
    content = [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 2), "f4")]
    found = read_pickle(written(tmp_path, pickle.dumps(content, protocol)))
    assert all(
        np.array_equal(one, other) and one.dtype == other.dtype for one, other in zip(found, content, strict=True)
    )


def test_a_stored_module_is_a_record_and_its_source_is_not_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    described = {"type": "class", "version": 6, "class_name": "Net", "state": {"a": 1}}
    described["module_src"] = f"open({str(touched)!r}, 'w')"
    content = as_global("torch_utils.persistence _reconstruct_persistent_obj") + argument(described) + b"R."
    found = read_pickle(written(tmp_path, PROTOCOL_4 + content))
    assert found == Record("Net", {"a": 1})
    assert not touched.exists()


def as_global(name: str) -> bytes:
    module, attribute = name.split(" ")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def argument(value: Any) -> bytes:
    """The instructions that leave `(value,)` on the stack."""
    return pickle.dumps((value,), 4)[2:-1]


def storage(values: torch.Tensor) -> bytes:
    """The bytes in which a storage lies in a pickle."""
    file = io.BytesIO()
    torch.save(
        torch.storage.TypedStorage(wrap_storage=values.untyped_storage(), dtype=values.dtype, _internal=True),
        file,
        _use_new_zipfile_serialization=False,
    )
    return file.getvalue()


def tensor(content: bytes, offset: int, size: Any, stride: Any) -> bytes:
    """A pickle of a tensor on these bytes."""
    loaded = as_global("torch.storage _load_from_bytes") + argument(content) + b"R"
    rest = b"".join(pickle.dumps(part, 4)[2:-1] for part in (offset, size, stride, False, collections.OrderedDict()))
    return PROTOCOL_4 + as_global("torch._utils _rebuild_tensor_v2") + b"(" + loaded + rest + b"tR."


def attacks(touched: Path) -> dict[str, bytes]:
    """Files that touch a file when Python's own reader, or a careless one, opens them."""
    code = f"open({str(touched)!r}, 'w').close()"
    command = f"touch {touched}"
    reduce_in_state = {"type": "class", "class_name": "N", "module_src": code, "state": Reduced(os.system, (command,))}
    persistent = as_global("torch_utils.persistence _reconstruct_persistent_obj")
    dicted = Reduced(collections.OrderedDict, (), None, None, iter([("k", Reduced(exec, (code,)))]))
    nested = as_global("builtins getattr") + b"(" + as_global("os _wrap_close") + argument("__init__")[:-1] + b"tR"
    return {
        "os.system": pickle.dumps(Reduced(os.system, (command,)), 0),
        "eval": pickle.dumps(Reduced(eval, (code,)), 2),
        "exec": pickle.dumps(Reduced(exec, (code,)), 4),
        "deep in a dict": pickle.dumps({"ema": [{"a": (Reduced(exec, (code,)),)}]}, 4),
        "state of a module": PROTOCOL_4 + persistent + argument(reduce_in_state) + b"R.",
        "item of an OrderedDict": pickle.dumps(dicted, 4),
        "getattr": PROTOCOL_4 + nested + b".",
        "copyreg": pickle.dumps(collections.namedtuple, 2)[:2]
        + as_global("copyreg _reconstructor")
        + argument(code)
        + b"R.",
        "copyreg.__newobj__": PROTOCOL_4 + as_global("copyreg __newobj__") + argument(code) + b"R.",
        "dotted name": PROTOCOL_4 + b"\x8c\x02os\x8c\x06system\x93" + argument(command) + b"R.",
        "name in a name": PROTOCOL_4
        + b"\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93"
        + argument(command)
        + b"R.",
        "INST": b"(S'" + command.encode() + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + command.encode() + b"'\no.",
        "NEWOBJ_EX": PROTOCOL_4 + as_global("os system") + argument(command) + b"}\x92.",
        "BUILD with __setstate__": PROTOCOL_4
        + as_global("collections OrderedDict")
        + b")R"
        + argument({"__setstate__": 1})[:-1]
        + b"b.",
        "torch.load in bytes": PROTOCOL_4
        + as_global("torch.storage _load_from_bytes")
        + argument(pickle.dumps(Reduced(exec, (code,))))
        + b"R.",
        "nested reduce": PROTOCOL_4 + as_global("collections OrderedDict") + b")R)R.",
        "numpy object": PROTOCOL_4 + as_global("numpy dtype") + argument("O8") + b"R.",
        "numpy's loader": PROTOCOL_4 + as_global("numpy load") + argument(str(touched)) + b"R.",
        "persistent identifier": PROTOCOL_4 + argument(("storage", 1)) + b"Q.",
        "extension registry": PROTOCOL_4 + b"\x82\x01.",
        "import by a module": PROTOCOL_4 + as_global("torch_utils.persistence import_hook") + argument(code) + b"R.",
    }


@pytest.mark.parametrize("name", sorted(attacks(Path("x"))))
def test_nothing_in_a_hostile_file_runs(name: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    with pytest.raises(ModelError, match=r"file\.pkl: "):
        read_pickle(written(tmp_path, attacks(touched)[name]))
    assert not touched.exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """Python's own reader falls for them, so the test above shows something."""
    for name in ("os.system", "eval", "exec", "deep in a dict", "item of an OrderedDict", "dotted name", "INST", "OBJ"):
        touched = tmp_path / name.replace(" ", "-")
        try:
            pickle.loads(attacks(touched)[name])
        except TypeError:
            assert name == "OBJ"  # since Python 3.13 it wants a class
            continue
        assert touched.exists(), name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("collections.Counter", pickle.dumps(collections.Counter("a"))),
        ("posix.system|nt.system", pickle.dumps(os.system)),
        ("datetime", pickle.dumps(__import__("datetime").date(2020, 1, 1))),
    ],
)
def test_the_message_names_what_was_met(name: str, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"asks for '.*({name}).*nothing was run"):
        read_pickle(written(tmp_path, content))


def test_a_tensor_stays_within_its_storage(tmp_path: Path) -> None:
    four = storage(torch.arange(4.0))
    assert read_pickle(written(tmp_path, tensor(four, 1, (3,), (1,)))).tolist() == [1, 2, 3]
    for offset, size, stride in [
        (2, (3,), (1,)),
        (0, (5,), (1,)),
        (0, (10**9, 10**9), (0, 0)),
        (0, (2,), (4,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2,), (2**63,)),
        (0, (1,) * 99, (1,) * 99),
        (0, [4], (1,)),
        (0, (4,), (1, 1)),
        (0, (True,), (1,)),
        (0, (2**80, 0), (1, 1)),
    ]:
        with pytest.raises(ModelError):
            read_pickle(written(tmp_path, tensor(four, offset, size, stride)))


def test_a_storage_of_the_wrong_size(tmp_path: Path) -> None:
    whole = storage(torch.arange(4.0))
    count = struct.pack("<q", 4)
    assert whole.count(count) == 1
    for content in (
        whole[:-1],
        whole + b"\x00",
        whole.replace(count, struct.pack("<q", 2**61)),
        whole[:40],
        b"",
        b"\x80\x02}.",
        whole[1:],
    ):
        with pytest.raises(ModelError):
            read_pickle(written(tmp_path, tensor(content, 0, (4,), (1,))))


def test_truncated_or_changed_anywhere_it_is_an_error_or_plain_content(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": torch.arange(3.0), "b": [np.float64(1), "text", (1, {2: 3})], "c": np.arange(4)}, 4)
    for end in range(len(whole)):
        with pytest.raises(ModelError):
            read_pickle(written(tmp_path, whole[:end]))
    changes = torch.Generator().manual_seed(0)
    for _ in range(1000):
        at, value = (int(torch.randint(high, (), generator=changes)) for high in (len(whole), 256))
        changed = bytearray(whole)
        changed[at] = value
        try:
            read_pickle(written(tmp_path, bytes(changed)))
        except ModelError:
            pass


@pytest.mark.parametrize(
    "content",
    [
        PROTOCOL_4 + b"]" * 300_000 + b"a" * 299_999 + b".",
        PROTOCOL_4 + b")" + b"\x85" * 300_000 + b".",
    ],
)
def test_deep_content_does_not_recurse(content: bytes, tmp_path: Path) -> None:
    depth, inner = 0, read_pickle(written(tmp_path, content))
    while inner:
        depth, inner = depth + 1, inner[0]
    assert depth >= 299_999


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("a tuple as a key", PROTOCOL_4 + b"}" + b")" + b"\x85" * 300_000 + b"Ns."),
        ("more than .* instructions", PROTOCOL_4 + b"N0" * (pickle_machine.STEPS // 2 + 1) + b"N."),
        ("a number of .* bits", PROTOCOL_4 + b"\x8b" + struct.pack("<i", 1000) + b"\x7f" * 1000 + b"."),
        ("damaged", PROTOCOL_4 + b"I" + b"9" * 5000 + b"\n."),
        ("damaged", PROTOCOL_4 + b"\x8e" + struct.pack("<Q", 2**62) + b"x."),
        ("damaged", PROTOCOL_4 + b"\x8d" + struct.pack("<Q", 2**64 - 1) + b"x."),
        ("damaged", PROTOCOL_4 + b"h\x07."),
        ("objects are left", PROTOCOL_4 + b"NN."),
        ("damaged", b""),
    ],
)
def test_bounds(message: str, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        read_pickle(written(tmp_path, content))


def test_one_part_named_many_times_makes_nothing_large(tmp_path: Path) -> None:
    """2,000 times a storage of 4 MB, which a careless reader unpacks to 8 GB."""
    load = as_global("torch.storage _load_from_bytes") + argument(storage(torch.zeros(1_000_000)))
    again = b"q\x7f" + b"R" + (as_global("torch.storage _load_from_bytes") + b"h\x7fR") * 2000
    with pytest.raises(ModelError, match="unpacks to more than it holds"):
        read_pickle(written(tmp_path, PROTOCOL_4 + b"(" + load + again + b"l."))


def test_billion_laughs_stay_shared(tmp_path: Path) -> None:
    lines = (
        b"]("
        + b"K\x01" * 10
        + b"eq\x00"
        + b"".join(
            b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"eq" + bytes([level + 1])
            for level in range(60)
        )
    )
    found = read_pickle(written(tmp_path, PROTOCOL_4 + b"(" + lines + b"l."))
    assert len(found) == 61
    assert sys.getsizeof(found[-1]) < 1000


def test_no_file_or_no_network(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ModelError, match="there is no such file"):
            read_pickle(path)
