"""Drift against its closed form."""

from __future__ import annotations

import torch

from difftuning.evaluation.drift import drift_by_layer, weight_drift


def test_drift_is_the_squared_distance_by_parameter() -> None:
    before = {"a": torch.zeros(3), "b": torch.ones(2), "table": torch.zeros(5, 2)}
    after = {"a": torch.full((3,), 2.0), "b": torch.ones(2), "table": torch.zeros(3, 2)}
    assert weight_drift(before, after) == {"a": 12.0, "b": 0.0}


def test_a_weighted_drift_counts_each_entry_by_its_importance() -> None:
    before, after = {"a": torch.zeros(3)}, {"a": torch.tensor([1.0, 2.0, 3.0])}
    assert weight_drift(before, after, {"a": torch.tensor([1.0, 0.0, 0.5])}) == {"a": 5.5}


def test_layers_gather_their_parameters_and_lose_nothing() -> None:
    drift = {"blocks.0.a.weight": 1.0, "blocks.0.b": 2.0, "blocks.1.a": 4.0, "pos.proj.weight": 8.0, "pos.bias": 16.0}
    assert drift_by_layer(drift) == {"blocks.0": 3.0, "blocks.1": 4.0, "pos": 24.0}
    assert sum(drift_by_layer(drift).values()) == sum(drift.values())
