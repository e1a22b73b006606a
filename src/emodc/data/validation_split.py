"""A validation split for datasets whose owners give none."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VALIDATION_SHARE = 0.1
"""The share of each class that is set aside for validation."""


def carve(
    keys: Sequence[str], labels: NDArray[np.int64], share: float = VALIDATION_SHARE
) -> NDArray[np.bool_]:
    """Choose images to set aside, class by class, never parting those that share a key.

    The order in which keys are taken is that of their hashes: as good as random, yet the same
    on every machine, and adding an image moves few others across.

    Args:
        keys: N names; images of one person, or copies of one image, carry the same.
        labels: (N,) int64, class indices.
        share: of each class, in (0, 1). Every class of two keys or more gives at least one
            image and keeps one.

    Returns:
        (N,) bool, True where an image is set aside.
    """
    sizes = np.bincount(labels)
    wanted = np.minimum(np.maximum(np.round(share * sizes), 1), np.maximum(sizes - 1, 0))
    members: dict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        members[key].append(index)
    taken = np.zeros(len(sizes), dtype=np.int64)
    aside = np.zeros(len(labels), dtype=np.bool_)
    for key in sorted(members, key=lambda key: hashlib.sha256(key.encode()).digest()):
        gives = np.bincount(labels[members[key]], minlength=len(sizes))
        helps = np.minimum(gives, np.maximum(wanted - taken, 0)).sum()
        # A person with images of many classes is taken if most of them are still wanted.
        if 2 * helps > gives.sum() and bool((taken + gives < sizes)[gives > 0].all()):
            taken += gives
            aside[members[key]] = True
    return aside
