"""Whether a map shows what a classifier looks at.

A map ranks the pixels of a face. If the first of them matter most, the answer falls fastest when
they are blurred (deletion) and comes back fastest when only they are sharp (insertion): the curves
of Petsiuk et al., "RISE" (BMVC 2018), with blur in place of black, which is no face at all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from emodc.explain.map_smoothing import Map, smoothed
from emodc.faces.arrays import Pixels

Answer = Callable[[Sequence[Pixels]], NDArray[np.float64]]
"""N crops -> probabilities (N, K)."""

SHARES = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0)
"""Shares of the pixels that are blurred, or sharp."""

_BLUR = 1 / 8  # of the side: nothing of an expression is left


class Curves(NamedTuple):
    """The probability of a class over `SHARES`, and the areas under it, in [0, 1].

    Attributes:
        deletion: (6,), with the strongest pixels blurred.
        insertion: (6,), with all others blurred.
    """

    deletion: Map
    insertion: Map

    @property
    def deletion_area(self) -> float:
        """The lower, the better the map."""
        return float(np.trapezoid(self.deletion, SHARES))

    @property
    def insertion_area(self) -> float:
        """The higher, the better the map."""
        return float(np.trapezoid(self.insertion, SHARES))


def curves(answer: Answer, crop: Pixels, maps: Mapping[str, Map], label: int) -> dict[str, Curves]:
    """Return the curves of several maps of one face.

    Args:
        answer: of the classifier; with other draws than those of the maps, lest their noise count.
        crop: (H, W) uint8.
        maps: (H, W), by name; the greatest values speak most for the class.
        label: index of the class.
    """
    images = [blurred(crop), crop]
    for values in maps.values():
        for share in SHARES[1:-1]:
            strong = strongest(values, share)
            images += [np.where(strong, images[0], crop), np.where(strong, crop, images[0])]
    blank, whole, *p = answer(images)[:, label]
    found, inner = {}, len(SHARES) - 2
    for number, name in enumerate(maps):
        part = p[2 * inner * number : 2 * inner * (number + 1)]
        found[name] = Curves(
            np.array([whole, *part[0::2], blank]), np.array([blank, *part[1::2], whole])
        )
    return found


def blurred(crop: Pixels) -> Pixels:
    """Return a crop (H, W) in which no expression can be seen."""
    soft = smoothed(crop.astype(np.float64), _BLUR * len(crop))
    return np.rint(soft).clip(0, 255).astype(np.uint8)


def strongest(values: Map, share: float) -> NDArray[np.bool_]:
    """Return where this share of the pixels is that has the greatest values; (H, W)."""
    order = np.argsort(-values, axis=None, kind="stable")
    chosen = np.zeros(values.size, np.bool_)
    chosen[order[: round(share * values.size)]] = True
    return chosen.reshape(values.shape)


def random_map(size: int, width: float, seed: int) -> Map:
    """Return a map of nothing, as smooth as others: white noise, smoothed; (N, N)."""
    return smoothed(np.random.default_rng(seed).standard_normal((size, size)), width)


def center_map(size: int) -> Map:
    """Return the map of one who looks at the middle of every face; (N, N)."""
    away = np.square(np.arange(size) + 0.5 - size / 2)
    return np.asarray(-(away[:, None] + away[None, :]), np.float64)


def rank_correlation(one: Map, other: Map) -> float:
    """Return Spearman's correlation of two maps; 0 if one is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)


def changed_region(before: Pixels, after: Pixels, least: int = 8) -> NDArray[np.bool_]:
    """Return where two images (H, W) differ by more than ``least`` gray levels, and next to it."""
    differ = np.abs(before.astype(np.int64) - after.astype(np.int64)) > least
    return np.asarray(ndimage.binary_dilation(differ))


def points_at(values: Map, region: NDArray[np.bool_]) -> bool:
    """Tell whether the greatest value lies in the region (Zhang et al., ECCV 2016)."""
    return bool(region.ravel()[int(np.argmax(values))])
