"""Memory stays flat over a long run: sets far larger than what is kept of them, read at random a hundred thousand times."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from bank.test_read import write_bank
from difftuning.bank.mix import TwoStreams
from difftuning.bank.read import Bank
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import Source
from difftuning.data.latent_files import LatentFiles, Part, PartFolder, digest_of
from difftuning.data.order import Order
from difftuning.training.streams import DrawnStreams
from tiny import tiny_dit

PARTS, EACH, SHAPE = 16, 4096, (3, 8, 8)
MIB = 2**20


def files(folder: Path) -> LatentFiles:
    """50 MiB of latents with their mirror images."""
    parts = []
    kept = PartFolder(folder)
    for number in range(PARTS):
        latents = torch.randn(EACH, 2, *SHAPE, generator=torch.Generator().manual_seed(number)).half()
        labels = torch.arange(EACH, dtype=torch.int32) % 2
        part = Part(("a", "b"), EACH, (), EACH, 0, (), True, digest_of(labels), str(number))
        kept.write((number, 0), part, latents, labels, {})
        parts.append(part)
    where = [kept.latents((number, 0)) for number in range(PARTS)]
    return LatentFiles(where, parts, ("a", "b"), True, torch.arange(0), "")


def test_the_streams_of_a_long_run(tmp_path: Path) -> None:
    target = files(tmp_path / "target")
    bank = Bank(write_bank(tmp_path / "bank", torch.randn(20_000, *SHAPE)))
    two = TwoStreams(
        target=target,
        target_order=Order(1, len(target)),
        rows=torch.arange(2),
        null_label=2,
        label_dropout=0.1,
        flip=True,
        bank=bank,
        bank_order=Order(2, len(bank)),
    )
    drawn = DrawnStreams(ChainOfForgetting.from_psi(Power(1.0)), tiny_dit().clock, Source(), two, 32, 0)
    process, position, after = psutil.Process(), (0, 0), []
    for step in range(4_000):
        from_bank = int(drawn.batch(step, position).draw.from_bank.sum())
        position = position[0] + 32 - from_bank, position[1] + from_bank
        if step % 1_000 == 999:
            after.append(process.memory_info().rss)
    assert sum(position) == 128_000
    assert after[-1] - after[0] < 4 * MIB
