"""Is one arm better than another? Both answered the same images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

RESAMPLES = 10_000
"""Bootstrap samples of the images."""

_AT_ONCE = 500  # bootstrap samples drawn together, which bounds memory


def mcnemar(ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    """Test whether two classifiers are right on equally many images.

    McNemar's exact test (McNemar, Psychometrika 1947): of the images that only one of them
    answers rightly, each is as likely to be the one's as the other's.

    Args:
        ours: (N,) bool, which images are answered rightly.
        theirs: (N,) bool, of the same images.

    Returns:
        ``only_ours`` and ``only_theirs``, counts of images that only the one answers rightly, and
        ``p``, two-sided; 1 if there are none.
    """
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    differing = only_ours + only_theirs
    p = float(binomtest(only_ours, differing, 0.5).pvalue) if differing else 1.0
    return {"only_ours": only_ours, "only_theirs": only_theirs, "p": p}


def paired_bootstrap(
    ours: Tensor, theirs: Tensor, resamples: int = RESAMPLES
) -> dict[str, float | list[float]]:
    """Return the difference of two mean accuracies and its bootstrap interval over images.

    What the seeds do on one image is averaged first: seeds share the images. The interval is that
    of the choice of images, for these trained models (percentiles; Efron and Tibshirani, 1993,
    chapter 13).

    Args:
        ours: (S, N) bool, which images are answered rightly, for each of S seeds.
        theirs: (S, N) bool, of the same images, with the same seeds.
        resamples: bootstrap samples, drawn with a fixed seed.

    Returns:
        ``difference``, ours minus theirs, and ``difference_ci95``.
    """
    change = (ours.double() - theirs.double()).mean(dim=0).numpy()  # (N,)
    rng = np.random.default_rng(0)
    sizes = [min(_AT_ONCE, resamples - start) for start in range(0, resamples, _AT_ONCE)]
    means = np.concatenate([_resampled(change, size, rng) for size in sizes])
    low, high = np.quantile(means, [0.025, 0.975])
    return {"difference": float(change.mean()), "difference_ci95": [float(low), float(high)]}


def _resampled(
    values: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the means of ``count`` samples with replacement."""
    drawn = rng.integers(0, len(values), (count, len(values)))
    means: NDArray[np.float64] = values[drawn].mean(axis=1)
    return means
