"""Weights that the processes share (FSDP2): each holds a part of every parameter, of its average and of its optimiser's state.

A block's parameters come together for its passes alone, in all processes at once. Checkpoints hold whole tensors, so that a run
goes on in any number of processes, whether they share the weights or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from difftuning.processes import present, stay_together
from difftuning.training.ema import EMA, EMAConfig
from difftuning.training.interfaces import Objective
from difftuning.training.parallel import Groups, Passes


class SharedPasses(Passes):
    """Passes over a network whose weights are shared, which it becomes in place. See `Passes`."""

    def __init__(
        self, accelerator: Accelerator, network: nn.Module, objective: Objective, parameters: dict[str, nn.Parameter]
    ) -> None:
        self.accelerator, self.network, self.asked = accelerator, network, objective
        _share(network)
        shared = dict(network.named_parameters())
        self.parameters = {name: shared[name] for name in parameters}
        stay_together()

    def sending(self, last: bool) -> AbstractContextManager[None]:
        """Around a pass there and back: the gradients go to the other processes after each, since none holds whole ones."""
        return super().sending(True)

    def clip(self, most: float) -> Tensor:
        """Clip the gradients to a norm over all processes; returns (), the norm before."""
        return _whole(super().clip(most))

    def average(self, config: EMAConfig) -> EMA:
        """The average of this process's parts."""
        return _SharedEMA(self.network, {name: _part(value) for name, value in self.parameters.items()}, config)

    def put_together(self, groups: Groups) -> Groups:
        """What a checkpoint holds, one tensor after the other; on the main process."""
        found: Groups = {}
        for group, tensors in groups.items():
            found[group] = {}
            for name, value in tensors.items():
                whole = _whole(self._like(name, value) if group == "ema" else value)
                if present().main:
                    found[group][name] = whole.cpu()
        return found

    def take_apart(self, groups: Mapping[str, Mapping[str, Tensor]]) -> Mapping[str, Mapping[str, Tensor]]:
        """What this process holds of the tensors of a checkpoint."""
        return {
            "parameters": {name: self._shared(name, value) for name, value in groups["parameters"].items()},
            "ema": {name: _part(self._shared(name, value)) for name, value in groups["ema"].items()},
            # A step counter is no tensor in the shape of its parameter, and every process has it.
            "optimizer": {
                key: self._shared(key.rpartition("/")[0], value) if value.ndim else value
                for key, value in groups["optimizer"].items()
            },
        }

    def spoilt(self) -> list[str]:
        """The names of parameters that are not finite."""
        bad = [name for name, value in self.parameters.items() if not bool(_part(value).isfinite().all())]
        return sorted({name for found in present().gather(bad) for name in found})

    def _like(self, name: str, part: Tensor) -> DTensor:
        """A part, as that of a tensor which is shared as its parameter is."""
        like: DTensor = self.parameters[name].data  # type: ignore[assignment]
        return DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())

    def _shared(self, name: str, whole: Tensor) -> Tensor:
        """A whole tensor, shared as its parameter is."""
        like: DTensor = self.parameters[name].data  # type: ignore[assignment]
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)


class _SharedEMA(EMA):
    """The average of parts, whose places in memory belong to FSDP: what is in them is exchanged, and not they."""

    def __init__(self, network: nn.Module, parts: Mapping[str, Tensor], config: EMAConfig) -> None:
        super().__init__(parts, config)  # type: ignore[arg-type]
        self._network = network

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Within the context the model carries the average; the trained values come back after it, bit for bit."""
        trained = {name: part.clone() for name, part in self._parameters.items()}
        try:
            self._fill(self.average)
            yield
        finally:
            self._fill(trained)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for module in self._network.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # what has come together would hide the new values
        for name, part in self._parameters.items():
            part.copy_(values[name])


def _share(network: nn.Module) -> None:
    """Share a network's parameters, by the launcher's options: first modules that several blocks have in common, then blocks."""
    plugin = FullyShardedDataParallelPlugin()
    device = next(network.parameters()).device
    mesh = init_device_mesh(device.type, (present().count,))
    uses = Counter(module for _, module in network.named_modules(remove_duplicate=False))
    common = [module for module, count in uses.items() if count > 1 and any(True for _ in module.parameters(False))]
    blocks = [block for part in network.modules() if isinstance(part, nn.ModuleList) for block in part]
    outermost = [
        block for block in blocks if not any(block in other.modules() for other in blocks if other is not block)
    ]
    for module in (*common, *outermost, network):
        fully_shard(
            module,
            mesh=mesh,
            reshard_after_forward=bool(plugin.reshard_after_forward),
            offload_policy=plugin.cpu_offload,
        )


def _part(value: Tensor) -> Tensor:
    """The part of a shared tensor that is here, in its own memory."""
    detached = value.detach()
    return detached.to_local() if isinstance(detached, DTensor) else detached


def _whole(value: Tensor) -> Tensor:
    """All of a shared tensor; any other as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value
