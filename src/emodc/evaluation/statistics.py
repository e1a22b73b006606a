"""Statistics of a comparison: confidence intervals, paired tests and corruption errors.

Everything is computed from which images were classified correctly, or in what share of the seeds.
The unit of all intervals is the image: what one image does under several corruptions and seeds is
averaged first, because it is not independent.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emodc.evaluation.metrics import Z95, accuracy_interval

RESAMPLES = 10_000
"""Bootstrap samples of the images."""

_AT_ONCE = 500  # bootstrap samples drawn together, which bounds memory

Curve = Mapping[int, float]
"""Error rates by severity."""


def share_right(right: Tensor) -> dict[str, float | list[float]]:
    """Return the accuracy and its 95 % confidence interval (Wilson).

    Args:
        right: (N,) shares in [0, 1], of single images.
    """
    images = len(right)
    total = float(right.double().sum())
    return {
        "accuracy": total / images,
        "accuracy_ci95": list(accuracy_interval(total, images)),
    }


def mean_class_share(right: Tensor, labels: Tensor) -> float:
    """Return the mean over the classes that have images of their accuracies.

    Args:
        right: (N,) shares in [0, 1], of single images.
        labels: (N,) int64, true classes.
    """
    shares = [right[labels == k].double().mean() for k in sorted(set(labels.tolist()))]
    return float(sum(shares)) / len(shares)


def mean_class_interval(confusion: Tensor) -> tuple[float, float]:
    """Return the 95 % confidence interval of a mean class accuracy, within [0, 1].

    The normal interval of a mean of independent shares, each with the variance of the score
    interval's center (Agresti and Coull, The American Statistician 1998): that of a class with few
    images, all right or all wrong, is not 0.

    Args:
        confusion: (K, K), rows = truth; classes without images do not count.
    """
    counts = confusion.sum(dim=1).double()
    present = counts > 0
    right, images = confusion.diagonal().double()[present], counts[present]
    center = (right + Z95**2 / 2) / (images + Z95**2)
    variance = (center * (1 - center) / (images + Z95**2)).sum() / len(images) ** 2
    mean, half = float((right / images).mean()), Z95 * float(variance) ** 0.5
    return max(0.0, mean - half), min(1.0, mean + half)


def mean_interval(values: Tensor) -> list[float] | None:
    """Return the normal 95 % confidence interval of a mean over images; None for a single one.

    Args:
        values: (N,) of single images.
    """
    if len(values) < 2:
        return None
    mean = float(values.double().mean())
    half = Z95 * float(values.double().std()) / len(values) ** 0.5
    return [mean - half, mean + half]


def paired_difference(right: Tensor, reference: Tensor) -> dict[str, float | list[float] | None]:
    """Return the difference of two accuracies on the same images and its confidence interval.

    It is the normal 95 % interval of the mean of the images' differences.

    Args:
        right: (N,) shares in [0, 1], of single images.
        reference: (N,) of the same images, of the model it is compared with.

    Returns:
        ``difference`` and ``difference_ci95``, which is None for a single image.
    """
    change = right.double() - reference.double()
    return {"difference": float(change.mean()), "difference_ci95": mean_interval(change)}


def mcnemar(ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    """Test whether two classifiers are right on equally many images.

    McNemar's exact test (McNemar, Psychometrika 1947): of the images that only one of them
    classifies correctly, each is as likely to be the one's as the other's.

    Args:
        ours: (N,) bool, which images are classified correctly.
        theirs: (N,) bool, of the same images.

    Returns:
        ``only_ours`` and ``only_theirs``, counts of images that only the one classifies correctly,
        and ``p``, two-sided; 1 if there are none.
    """
    from scipy.stats import binomtest  # takes long to import, and few commands test

    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    differing = only_ours + only_theirs
    p = float(binomtest(only_ours, differing, 0.5).pvalue) if differing else 1.0
    return {"only_ours": only_ours, "only_theirs": only_theirs, "p": p}


def paired_bootstrap(
    ours: Tensor, theirs: Tensor, resamples: int = RESAMPLES
) -> dict[str, float | list[float]]:
    """Return the difference of two mean accuracies and its bootstrap interval over images.

    What the seeds do on one image is averaged first: seeds share the images. The 95 % interval is
    that of the choice of images, for these trained models (percentiles; Efron and Tibshirani,
    1993, chapter 13).

    Args:
        ours: (S, N) bool, which images are classified correctly, for each of S seeds.
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


def corruption_error(errors: Mapping[str, Curve], reference: Mapping[str, Curve]) -> float | None:
    """Return the mean corruption error, mCE (Hendrycks and Dietterich, ICLR 2019, section 4.1).

    ``mean_c (sum_s E_{s,c} / sum_s E'_{s,c})``: 1 is as many errors as the reference model makes;
    published tables state it in percent.

    Args:
        errors: error rates E by corruption c and severity s.
        reference: E', of the reference model.

    Returns:
        None if the reference model makes no error under some corruption.
    """
    ratios = [
        _ratio(sum(curve.values()), sum(reference[name].values())) for name, curve in errors.items()
    ]
    return _mean(ratios)


def relative_corruption_error(
    errors: Mapping[str, Curve],
    clean: float,
    reference: Mapping[str, Curve],
    reference_clean: float,
) -> float | None:
    """Return the relative mCE (Hendrycks and Dietterich, ICLR 2019, section 4.1).

    ``mean_c (sum_s (E_{s,c} - E_clean) / sum_s (E'_{s,c} - E'_clean))``: the errors that
    corruption adds, in units of those that it adds to the reference model's.

    Args:
        errors: as for `corruption_error`.
        clean: E_clean.
        reference: as for `corruption_error`.
        reference_clean: E'_clean.

    Returns:
        None if some corruption adds no error to the reference model's: the ratio then means
        nothing.
    """
    ratios = []
    for name, curve in errors.items():
        ours = sum(error - clean for error in curve.values())
        theirs = sum(error - reference_clean for error in reference[name].values())
        ratios.append(_ratio(ours, theirs))
    return _mean(ratios)


def _resampled(
    values: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the means of ``count`` samples with replacement."""
    drawn = rng.integers(0, len(values), (count, len(values)))
    means: NDArray[np.float64] = values[drawn].mean(axis=1)
    return means


def _ratio(part: float, whole: float) -> float | None:
    # An error rate is a multiple of 1 / N: what is smaller is rounding.
    return part / whole if whole > 1e-9 else None


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined and len(defined) == len(values) else None
