"""Subsets that keep the class proportions."""

import numpy as np
from numpy.typing import NDArray


def stratified_subset(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose images at random so that the classes keep their proportions.

    Each class gets its share of ``count``, rounded so that the total is exact and, where
    ``count`` allows, no class that has images goes empty.

    Args:
        labels: (N,) int64, class indices.
        count: how many images to choose; all of them if N is no larger.
        seed: same labels, count and seed, same choice; 0 <= seed < 2**64.

    Returns:
        (min(count, N),) int64, indices into ``labels`` in ascending order.

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"a subset needs at least one image, not {count}")
    if count >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    classes, sizes = np.unique(labels, return_counts=True)
    chosen = []
    for label, quota in zip(classes.tolist(), _quotas(sizes, count).tolist(), strict=True):
        rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, label]))
        chosen.append(rng.permutation(np.flatnonzero(labels == label))[:quota])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _quotas(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return how many images each class gives; sizes are positive, their sum above ``count``."""
    ideal = count * sizes / sizes.sum()
    least = 1 if count >= len(sizes) else 0
    quotas: NDArray[np.int64] = np.maximum(np.floor(ideal).astype(np.int64), least)
    while (missing := count - quotas.sum()) != 0:
        step = 1 if missing > 0 else -1
        movable = quotas < sizes if step > 0 else quotas > least
        quotas[np.argmax(np.where(movable, step * (ideal - quotas), -np.inf))] += step
    return quotas
