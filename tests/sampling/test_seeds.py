"""The randomness of an item depends on (seed, item) alone."""

from __future__ import annotations

import torch

from difftuning.sampling.seeds import generators, sample_noise

SHAPE = (2, 4, 4)


def test_noise_of_an_item_is_bitwise_the_same_in_any_batch() -> None:
    whole = sample_noise(7, range(20), SHAPE)
    for batch in ([0], [19, 3], list(range(5, 12))):
        assert torch.equal(sample_noise(7, batch, SHAPE), whole[batch])


def test_it_is_what_diffusers_draws_from_the_same_generators() -> None:
    rows = [torch.randn(1, *SHAPE, generator=generator) for generator in generators(7, range(4), "noise")]
    assert torch.equal(torch.cat(rows), sample_noise(7, range(4), SHAPE))


def test_seeds_and_streams_differ() -> None:
    first = sample_noise(0, range(50), SHAPE)
    assert not torch.isclose(first, sample_noise(1, range(50), SHAPE)).all(dim=(1, 2, 3)).any()
    solver = torch.stack([torch.randn(SHAPE, generator=generator) for generator in generators(0, range(50))])
    assert not torch.isclose(first, solver).all(dim=(1, 2, 3)).any()


def test_no_two_items_of_a_large_bank_share_a_generator() -> None:
    # torch keeps 32 bits of a seed: 100,000 hashed seeds would be expected to meet once.
    seeds = [generator.initial_seed() % 2**32 for generator in generators(3, range(100_000))]
    assert len(set(seeds)) == len(seeds)


def test_the_noise_is_standard_normal_across_items() -> None:
    noise = sample_noise(11, range(4000), (1, 4, 4)).flatten(1)
    assert noise.mean(0).abs().max() < 5 / 4000**0.5
    assert (noise.var(0) - 1).abs().max() < 5 * (2 / 4000) ** 0.5
    neighbours = (noise[1:] * noise[:-1]).mean()
    assert abs(neighbours) < 5 / noise.numel() ** 0.5
