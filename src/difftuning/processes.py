"""The processes of one run: how they share work, and how they agree.

`accelerate launch` and `torchrun` start several, which then do the same work together. What one of them does of it is a pure
function of its rank, and what they find is put together in order, so that it is the same by however many. Where there is one
process, which is the rule, everything here is a plain call, and neither accelerate nor torch is imported for it.

Agreement goes through the CPUs (gloo), so that it never waits for a device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from difftuning.errors import ConfigError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")

SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes they have started: torch's, and those of MPI."""
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
"""And which of them this is."""
PATIENCE = timedelta(days=1)
"""How long one waits for the others, which may be drawing a bank; a launcher ends all of them when one dies."""
FAILED = "difftuning/failed"
"""Of the store that launchers give to the processes: how many of them had something to say before they ended."""


@dataclass(frozen=True)
class Processes:
    """Some processes, as one of them sees them.

    Attributes:
        rank: of this one, 0 ... count - 1.
        count: how many there are.
        device: of this one; None where there is one process, which takes what its recipe says.
        group: what they talk through; None where there is one.
        sharded: the launcher asks for weights that they share (FSDP2).
        engine: the launcher asks for DeepSpeed, which shares the optimiser's state (ZeRO).
        together: every forward pass is made by all of them, since the weights are shared, so that none can do it for the others.
    """

    rank: int = 0
    count: int = 1
    device: torch.device | None = None
    group: Any = None
    sharded: bool = False
    engine: bool = False
    together: bool = False

    @property
    def main(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def rows(self, size: int) -> slice:
        """Which of `size` rows are this one's; parts differ by at most one row."""
        return slice(self.rank * size // self.count, (self.rank + 1) * size // self.count)

    def gather(self, value: T) -> list[T]:
        """The value of each, in the order of their ranks. The values must be on the CPU."""
        if self.count == 1:
            return [value]
        from torch import distributed

        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, value, group=self.group)
        return found

    def each(self, items: Sequence[T], work: Callable[[T], R]) -> list[R]:
        """The work of all items in order. They take turns at it, and what they find must be on the CPU.

        Args:
            items: the same for all.
            work: a pure function of an item.
        """
        if self.count == 1 or self.together:
            return [work(item) for item in items]
        found = self.gather([work(item) for item in items[self.rank :: self.count]])
        return [found[index % self.count][index // self.count] for index in range(len(items))]

    def on_main(self, work: Callable[[], R]) -> R:
        """What the main one finds; the others wait for it."""
        if self.count == 1:
            return work()
        from torch import distributed

        found = [work() if self.main else None]
        distributed.broadcast_object_list(found, group=self.group, group_src=0)
        return found[0]  # type: ignore[return-value]

    def any(self, asked: bool) -> bool:
        """Whether it is so for one of them: all get the same answer."""
        if self.count == 1:
            return asked
        import torch
        from torch import distributed

        answer = torch.tensor(int(asked))
        distributed.all_reduce(answer, distributed.ReduceOp.MAX, group=self.group)
        return bool(answer)

    @contextmanager
    def led(self, held: AbstractContextManager[None]) -> Iterator[None]:
        """Within it the main one holds what can be held by one process only, a lock; the others begin once it does."""
        if not self.main:
            self.any(False)
            yield
            return
        with held:
            self.any(False)
            yield


ALONE = Processes()
"""One process."""
_joined: Processes | None = None


def _told(names: Sequence[str], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), default)


def launched() -> bool:
    """Whether a launcher has started several of this process."""
    return _told(SIZES, 1) > 1


def on_this_machine() -> tuple[int, int]:
    """The rank of this process among those of its machine, and their number; 0 of 1 where no launcher tells."""
    count = _told(("LOCAL_WORLD_SIZE",), 0)
    return (_told(("LOCAL_RANK",), 0) % count, count) if count else (0, 1)


def present() -> Processes:
    """The processes of this run; the first call of each meets the others.

    Raises:
        ConfigError: they were launched in a way that cannot work here.
    """
    global _joined
    if _joined is None:
        _check_launch()
        _joined = _meet() if launched() else ALONE
    return _joined


def _meet() -> Processes:
    # When one of them ends early, the sockets of the others would tell of it at length.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    from accelerate import PartialState
    from torch import distributed

    # Where there is no accelerator, accelerate wants to be told; it would let each process believe that it is alone.
    state = PartialState(cpu=_yes("ACCELERATE_USE_CPU") or not torch.accelerator.is_available(), timeout=PATIENCE)
    group = distributed.new_group(backend="gloo", timeout=PATIENCE)
    if shared := _yes("ACCELERATE_USE_FSDP"):
        # Else transformers would load text encoders into the main process alone.
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    engine = _yes("ACCELERATE_USE_DEEPSPEED")
    return Processes(state.process_index, state.num_processes, state.device, group, shared, engine)


def _yes(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def _check_deepspeed() -> None:
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    if stage not in ("1", "2"):
        raise ConfigError(
            f"DeepSpeed's ZeRO is supported in stages 1 and 2, and was launched with {stage}; for weights that do not fit on one "
            "device use FSDP2: accelerate launch --use_fsdp --fsdp_version 2"
        )
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file != "none":
        raise ConfigError(
            f"the recipe says how to optimise, and {file} of DeepSpeed would say it once more; "
            "launch with --use_deepspeed --zero_stage 2 and without --deepspeed_config_file"
        )
    if find_spec("deepspeed") is None:
        raise ConfigError(
            "the launcher asks for DeepSpeed, which is not there; `pip install difftuning[deepspeed]`, or launch with --multi_gpu"
        )


def _check_launch() -> None:
    if _yes("ACCELERATE_USE_DEEPSPEED"):
        _check_deepspeed()
    if _yes("ACCELERATE_USE_MEGATRON_LM"):
        raise ConfigError(
            "Megatron-LM trains language models and no diffusion models; launch with --multi_gpu or --use_fsdp"
        )
    if _yes("ACCELERATE_USE_FSDP") and os.environ.get("FSDP_VERSION", "1") != "2":
        raise ConfigError("only the second version of FSDP is supported; launch with --use_fsdp --fsdp_version 2")
    alone = not launched() and all(os.environ.get(name) is None for name in (*SIZES, *RANKS))
    if alone and "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ:
        raise ConfigError(
            "accelerate was asked for several processes and has started one: on a CPU it starts more through MPI only, or with "
            "--multi_gpu, which needs no GPU: accelerate launch --multi_gpu --num_processes 2 -m difftuning ..."
        )


def stay_together() -> None:
    """From now on every process does all of each work, because a forward pass needs all of them."""
    global _joined
    _joined = replace(present(), together=True)


@contextmanager
def alone() -> Iterator[None]:
    """Within it this process asks no other: for what one of them does while the others wait."""
    global _joined
    before = present()
    _joined = replace(before, count=1, sharded=False, device=None)
    try:
        yield
    finally:
        _joined = before


def leave() -> bool:
    """Before work of one process: true for all but the main one, which forgets that there are others."""
    global _joined
    if not launched():
        return False
    rank = _told(RANKS, 0)
    part()
    for name in (*SIZES, *RANKS, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_USE_FSDP"):
        os.environ.pop(name, None)
    _joined = Processes(rank)
    return rank > 0


def part() -> None:
    """At the end: stop talking to the others."""
    if _joined is not None and _joined.count > 1:
        from accelerate.state import AcceleratorState, PartialState
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()
        AcceleratorState._reset_state()
        PartialState._reset_state()


def speaks() -> bool:
    """Whether this process is the one that says why the run ends: the first to know, which the others learn by its end."""
    if not launched():
        return True
    from torch import distributed

    if not distributed.is_initialized():
        return _told(RANKS, 0) == 0
    try:
        # torch has no public name for the store that it meets through.
        return int(distributed.distributed_c10d._get_default_store().add(FAILED, 1)) == 1
    except RuntimeError:  # whoever kept it has ended, and has spoken before
        return False
