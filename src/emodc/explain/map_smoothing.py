"""What a mean over draws supports: smoothing, standard errors, and what is significant.

Draws are (t, eps) with t evenly spaced, so they are no sample of one distribution: neighbors in t
differ little but in their noise. What another seed would change is therefore estimated from
neighbors, not from all draws: the difference estimator of systematic sampling (Wolter,
"Introduction to Variance Estimation", 2nd edition, 2007, section 8.2).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

Map = NDArray[np.float64]

_WIDTHS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Standard deviations to choose from, in pixels of a map of 48 pixels."""

LEAST_DRAWS = 8
"""With fewer draws neither the smoothing nor the standard error can be estimated."""


def smoothed(maps: Map, width: float) -> Map:
    """Return maps (..., H, W) smoothed by a Gaussian of this standard deviation, in pixels.

    At the edges the map is mirrored, so that every pixel hands out exactly what it has: the sum of
    a map stays.
    """
    if width == 0:
        return maps
    axes = (-2, -1)
    return np.asarray(ndimage.gaussian_filter(maps, width, mode="reflect", axes=axes), np.float64)


def supported_width(maps: Map, mirror: bool) -> float:
    """Return the standard deviation of the Gaussian with which the draws agree best.

    Twofold cross-validation: the mean of one half of the draws, smoothed, is to predict that of
    the other half. Both halves hold neighbors in t, and upright as well as mirrored draws.

    Args:
        maps: (S, H, W), a map for each draw, in the order of t.
        mirror: every other draw showed the mirror image.

    Returns:
        A width in pixels, 0 for none.
    """
    half = np.arange(len(maps)) // (2 if mirror else 1) % 2 == 1
    one, other = maps[half].mean(axis=0), maps[~half].mean(axis=0)
    widths = np.array(_WIDTHS) * maps.shape[-1] / 48
    loss = [
        np.square(smoothed(one, width) - other).sum()
        + np.square(smoothed(other, width) - one).sum()
        for width in widths
    ]
    return float(widths[int(np.argmin(loss))])


def standard_error(values: Map, mirror: bool) -> Map:
    """Return the standard error of the mean over the first axis, which is in the order of t.

    Args:
        values: (S, ...).
        mirror: every other draw showed the mirror image; draws are then compared with the next
            of their kind.
    """
    lag = 2 if mirror else 1
    variance: Map = np.square(values[lag:] - values[:-lag]).mean(axis=0) / 2
    return np.sqrt(variance / len(values))


def significant(mean: Map, error: Map, draws: int, rate: float) -> NDArray[np.bool_]:
    """Return which pixels differ from 0, so that of these at most ``rate`` are mistaken on average.

    The procedure of Benjamini and Hochberg (JRSS B 1995) at the p-values of two-sided t-tests. It
    controls the false discovery rate where the pixels depend on each other positively, as
    neighbors do in a smoothed map (Benjamini and Yekutieli, Annals of Statistics 2001).

    Args:
        mean: (H, W).
        error: (H, W), its standard error.
        draws: S; differences of neighbors have about 2/3 S degrees of freedom.
        rate: the false discovery rate.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, np.abs(mean) / error, np.where(mean == 0, 0.0, np.inf))
    p = 2 * stats.t.sf(t.ravel(), df=draws / 1.5)
    return np.asarray(stats.false_discovery_control(p) <= rate).reshape(mean.shape)
