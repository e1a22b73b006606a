import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emodc.method.randomness import counter_rng, standard_normal

uint64 = st.integers(0, 2**64 - 1)


@settings(deadline=None)
@given(uint64, uint64, uint64)
def test_a_draw_depends_on_seed_stream_and_index_alone(seed: int, stream: int, index: int) -> None:
    first = counter_rng(seed, stream, index).integers(2**63, size=4).tolist()
    counter_rng(seed, stream, (index + 1) % 2**64).random(1000)
    assert counter_rng(seed, stream, index).integers(2**63, size=4).tolist() == first
    for other in (
        ((seed + 1) % 2**64, stream, index),
        (seed, (stream + 1) % 2**64, index),
        (seed, stream, (index + 1) % 2**64),
        (seed, index, stream) if index != stream else (seed, stream, index ^ 1),
    ):
        assert counter_rng(*other).integers(2**63, size=4).tolist() != first


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_noise_is_the_same_alone_and_in_any_batch(indices: list[int]) -> None:
    together = standard_normal(7, 3, indices, (1, 2, 2))
    assert together.dtype == torch.float32
    for row, index in zip(together, indices, strict=True):
        assert torch.equal(row, standard_normal(7, 3, [index], (1, 2, 2))[0])


def test_noise_is_standard_normal_and_neighbors_are_independent() -> None:
    noise = standard_normal(0, 0, list(range(400)), (100,))
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.std()) == pytest.approx(1.0, abs=0.02)
    assert float((noise.abs() > 1.959964).float().mean()) == pytest.approx(0.05, abs=0.005)
    neighbors = (noise[1:] * noise[:-1]).mean()
    seeds = (noise * standard_normal(1, 0, list(range(400)), (100,))).mean()
    streams = (noise * standard_normal(0, 1, list(range(400)), (100,))).mean()
    assert max(abs(float(c)) for c in (neighbors, seeds, streams)) < 0.02
