"""Randomness that depends on no history: each number is a function of seed, stream and index."""

import numpy as np
import torch
from torch import Tensor


def counter_rng(seed: int, stream: int, index: int) -> np.random.Generator:
    """Return the random generator of one sample: a function of its arguments alone.

    A counter-based generator (Philox; Salmon et al., SC 2011) is keyed by seed and stream and
    starts at a counter of its own for every index, so no draw depends on which draws came
    before it, in which process, or in a run that was interrupted.

    Args:
        seed: the run's seed, 0 <= seed < 2^64.
        stream: which use of randomness this is; streams are independent of one another.
        index: global index of the sample, 0 <= index < 2^64.

    Raises:
        ValueError: an argument is out of range.
    """
    if not all(0 <= number < 2**64 for number in (seed, stream, index)):
        raise ValueError(f"seed {seed}, stream {stream}, index {index}: each must be in 0..2^64-1")
    bits = np.random.Philox(
        key=np.array([seed, stream], dtype=np.uint64),
        counter=np.array([0, 0, 0, index], dtype=np.uint64),
    )
    return np.random.Generator(bits)


def standard_normal(seed: int, stream: int, indices: list[int], shape: tuple[int, ...]) -> Tensor:
    """Return (len(indices), *shape) float32 standard normal noise, a row for every index."""
    rows = [counter_rng(seed, stream, i).standard_normal(shape, dtype=np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows))
