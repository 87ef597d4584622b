"""The values that the parts hand to each other, with their shapes.

Shape letters, used in every docstring:
    B  samples in a batch        C  channels        H, W  height and width (of the latent, or of the image for pixel models)

Ranges: images and pixel latents are in [-1, 1]; the time `t` is the process's own and grows with noise (t = 0 is data);
the forgetting clock `u` is in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Onto a GPU without waiting for it, which whatever reads the tensor there does; the other way one has to wait."""
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")


@dataclass(frozen=True, slots=True)
class Condition:
    """What each sample of a batch is conditioned on.

    Attributes:
        labels: (B,) int64, a row of the model's own class table; the null label stands for "no condition".
        control: (B, K, S, S) float32 in [0, 1], the control map of each image at its size in pixels; None where there is none.
        host: the labels on the CPU, where they were moved from it: to look at those of a device is to wait for it.
    """

    labels: Tensor
    control: Tensor | None = None
    host: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Condition:
        """The conditions of the samples that `index` picks."""
        here = (
            self.host if isinstance(index, slice) or index.is_cpu else None
        )  # no tensor of a device picks from the host
        return Condition(
            self.labels[index],
            None if self.control is None else self.control[index],
            None if here is None else here[index],
        )

    def rows(self) -> list[int]:
        """The labels as numbers, without waiting for a device that they were moved to."""
        found: list[int] = (self.labels if self.host is None else self.host).tolist()
        return found

    def under(self, label: int) -> Condition:
        """The same controls, all under one label."""
        host = None if self.host is None else torch.full_like(self.host, label)
        return replace(self, labels=torch.full_like(self.labels, label), host=host)

    def translated(self, table: Tensor) -> Condition:
        """The same controls, each under what a table (rows,) int64 has at its label."""
        host = None if self.host is None else table.to(self.host.device)[self.host]
        return replace(self, labels=table.to(self.labels.device)[self.labels], host=host)

    def to(self, device: torch.device | str) -> Condition:
        """The same condition on another device."""
        control = None if self.control is None else moved(self.control, device)
        return Condition(moved(self.labels, device), control, self.labels if self.labels.is_cpu else self.host)

    @staticmethod
    def cat(parts: list[Condition]) -> Condition:
        """One condition of the samples of all parts, in order; either all of them have a control or none has."""
        controls = [part.control for part in parts if part.control is not None]
        hosts = [part.host for part in parts if part.host is not None]
        return Condition(
            torch.cat([part.labels for part in parts]),
            torch.cat(controls) if controls else None,
            torch.cat(hosts) if len(hosts) == len(parts) else None,
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """When and from where each sample of a batch is taken, decided before any data is fetched.

    Attributes:
        t: (B,) float32, the process's own time.
        u: (B,) float32 in [0, 1], the forgetting clock at t.
        from_bank: (B,) bool, True where the item comes from the knowledge bank (retention).
        weight: (B,) float32 >= 0, what the sample's error is multiplied by; the loss is Eq. 5, `mean(weight * error)` over all B.
    """

    t: Tensor
    u: Tensor
    from_bank: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, index: Tensor | slice) -> Draw:
        """The draws that `index` picks."""
        return Draw(self.t[index], self.u[index], self.from_bank[index], self.weight[index])

    def to(self, device: torch.device | str) -> Draw:
        """The same draw on another device."""
        return Draw(*(moved(part, device) for part in (self.t, self.u, self.from_bank, self.weight)))


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch: a draw, filled with data.

    Attributes:
        x0: (B, C, H, W) float32, clean latents.
        noise: (B, C, H, W) float32, eps of `x_t = alpha(t) x0 + sigma(t) eps`.
        condition: B conditions, with label dropout already done.
        draw: B times, clocks, sources and weights.
        whole: the draw, on the CPU, of the batch that all processes make together, of which this is one's part; None where this is
            all of it.
    """

    x0: Tensor
    noise: Tensor
    condition: Condition
    draw: Draw
    whole: Draw | None = None

    def __len__(self) -> int:
        return len(self.x0)

    def __getitem__(self, index: Tensor | slice) -> Batch:
        """The samples that `index` picks."""
        return Batch(self.x0[index], self.noise[index], self.condition[index], self.draw[index])

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        x0, noise = moved(self.x0, device), moved(self.noise, device)
        return Batch(x0, noise, self.condition.to(device), self.draw.to(device), self.whole)


@dataclass(frozen=True, slots=True)
class Errors:
    """What an objective returns: the error of each sample, not reduced.

    Attributes:
        error: (B,) the sample's mean squared error, with gradient.
        extra: (B,) a second term that shares the weight of `error` (the learned-variance bound of DiT), or None.
        draw: the draw of the same B samples, so that a log or a forgetting curve needs nothing else.
        beside: (B,) a term that the draw does not weigh (retention by a teacher), or None.
    """

    error: Tensor
    draw: Draw
    extra: Tensor | None = None
    beside: Tensor | None = None

    def losses(self) -> Tensor:
        """(B,) what each sample adds to the loss."""
        whole = self.error if self.extra is None else self.error + self.extra
        weighted = self.draw.weight * whole
        return weighted if self.beside is None else weighted + self.beside

    def loss(self) -> Tensor:
        """The scalar to minimise: Eq. 5 as the plain mean of weighted errors."""
        return self.losses().mean()

    def detached(self) -> Errors:
        """The same values without gradient."""
        extra, beside = (None if term is None else term.detach() for term in (self.extra, self.beside))
        return Errors(self.error.detach(), self.draw, extra, beside)

    def to(self, device: torch.device | str) -> Errors:
        """The same errors on another device."""
        extra, beside = (None if term is None else term.to(device) for term in (self.extra, self.beside))
        return Errors(self.error.to(device), self.draw.to(device), extra, beside)

    @staticmethod
    def cat(parts: Sequence[Errors], draw: Draw) -> Errors:
        """The errors of all parts of a batch in order, whose draw is given."""

        def joined(terms: list[Tensor | None]) -> Tensor | None:
            there = [term for term in terms if term is not None]
            return torch.cat(there) if there else None

        extra, beside = joined([part.extra for part in parts]), joined([part.beside for part in parts])
        return Errors(torch.cat([part.error for part in parts]), draw, extra, beside)


class Network(Protocol):
    """The raw network: `(x_t, t, condition) -> y`, y being whatever its prediction row says."""

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x_t (B, C, H, W), t (B,) -> y (B, C, H, W), or (B, 2C, H, W) with a learned variance behind y."""
        ...


class Denoiser(Protocol):
    """All that samplers and diagnosis know of a model: `(x_t, t, condition) -> x0-hat`."""

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """x_t (B, C, H, W), t (B,) in the process's own time -> the clean sample expected, (B, C, H, W)."""
        ...
