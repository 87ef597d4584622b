"""The cost model against what is published, what was measured here, and what follows in closed form."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from difftuning.bank.store import Shard, write_shard
from difftuning.diagnosis.cost import (
    Device,
    Model,
    bank_bytes,
    bank_operations,
    communication_seconds,
    operations,
    state_bytes,
    step_operations,
    step_seconds,
)

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import scaling  # noqa: E402

RESULT = json.loads((BENCHMARKS / "results/scaling.json").read_text())
MEASURED = {one["model"]: one for one in json.loads((BENCHMARKS / "results/full_width.json").read_text())["models"]}
MODEL = Model("a", parameters=1000, trained=1000, forward=10.0, encode=5.0, latent=(4, 32, 32), kept=1.0)
DEVICE = Device("d", speed=100.0, reached=0.5, memory=1e6, link=80.0, network=10.0)


def test_operations_are_two_for_a_multiply_add() -> None:
    layer = torch.nn.Linear(3, 5, device="meta")
    assert operations(lambda: layer(torch.empty(7, 3, device="meta"))) == 2 * 7 * 3 * 5


def test_dit_xl_2_takes_the_published_operations() -> None:
    # Peebles & Xie 2023, Table 4: 118.64 Gflops, which are multiply-adds, for 675 M parameters at 256 pixels.
    model = scaling.model("DiT-XL/2")
    assert model.forward / 2 / 1e9 == pytest.approx(118.64, rel=0.01)
    assert model.parameters / 1e6 == pytest.approx(675, rel=2e-3)


@pytest.mark.parametrize(("name", "published"), [("DiT-XL/2", 273e9), ("Stable Diffusion 1.5", 1117e9)])
def test_an_autoencoder_takes_what_was_counted_elsewhere(name: str, published: float) -> None:
    encode = RESULT["models"][name]["encode"]
    assert encode == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize("name", ["DiT-XL/2", "PixArt-XL/2"])
def test_memory_is_what_was_measured_at_full_width(name: str) -> None:
    found = MEASURED[name]
    assert found["tuner"] == "full"
    model = RESULT["models"][name]
    counted = state_bytes(Model(name, found["parameters"], found["trainable"], 0, 0, (), 0)) + model["kept_at_256"]
    # The interpreter and its libraries, and what kernels use for a moment, come to it.
    assert counted / 2**30 < found["peak_gib"] < 1.15 * counted / 2**30 + 0.6


def test_a_bank_is_as_large_as_its_file(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, 0, Shard(np.zeros(64, np.int64), np.zeros((64, 4, 32, 32), np.float16)))
    assert entry.bytes == pytest.approx(bank_bytes(MODEL, 64), rel=0.01)


def test_closed_forms() -> None:
    assert step_operations(MODEL) == 30
    assert step_operations(MODEL, checkpointing=True, cached=False) == 45
    assert state_bytes(MODEL) == 20_000
    assert state_bytes(MODEL, 8, sharded=True) == 2500
    assert communication_seconds(MODEL, DEVICE, 1) == 0
    # Two devices: each sends half of the gradients twice.
    assert communication_seconds(MODEL, DEVICE, 2) == 4000 / 80
    assert communication_seconds(MODEL, DEVICE, 64) == pytest.approx(2 * 63 / 64 * 4000 / 10)
    assert step_seconds(MODEL, DEVICE, 1, 8) == 8 * 30 / 50
    assert bank_operations(MODEL, 100, 25) == 100 * 50 * 10


def test_the_page_says_what_the_result_file_says() -> None:
    page = (BENCHMARKS.parent / "docs/scaling.md").read_text(encoding="utf-8")
    for table in (scaling.counts(RESULT), scaling.plans(RESULT), scaling.checks(RESULT)):
        assert table in page
