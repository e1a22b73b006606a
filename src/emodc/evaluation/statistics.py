"""Figures of merit of a comparison, from what was right where.

Every function takes (N,) or (N, ...) shares in [0, 1]: whether a face was answered rightly, or in
what share of the seeds. The unit of all intervals is the face: what one face does under several
corruptions and seeds is averaged first, because it is not independent.
"""

from collections.abc import Mapping

from torch import Tensor

from emodc.evaluation.metrics import accuracy_interval

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % point

Curve = Mapping[int, float]
"""Error rates by severity."""


def share_right(right: Tensor) -> dict[str, float | list[float]]:
    """Return the accuracy and its 95 % interval (Wilson).

    Args:
        right: (N,) of single faces.
    """
    images = len(right)
    total = float(right.double().sum())
    return {
        "accuracy": total / images,
        "accuracy_ci95": list(accuracy_interval(total, images)),
    }


def mean_class_share(right: Tensor, labels: Tensor) -> float:
    """Return the mean over the classes that have faces of the share answered rightly.

    Args:
        right: (N,) of single faces.
        labels: (N,) int64, true classes.
    """
    shares = [right[labels == k].double().mean() for k in sorted(set(labels.tolist()))]
    return float(sum(shares)) / len(shares)


def mean_interval(values: Tensor) -> list[float] | None:
    """Return the normal 95 % interval of a mean over faces; None for a single face.

    Args:
        values: (N,) of single faces.
    """
    if len(values) < 2:
        return None
    mean = float(values.double().mean())
    half = _Z95 * float(values.double().std()) / len(values) ** 0.5
    return [mean - half, mean + half]


def paired_difference(right: Tensor, reference: Tensor) -> dict[str, float | list[float] | None]:
    """Return the difference of two mean accuracies on the same faces, with its 95 % interval.

    The normal interval of the mean of the faces' differences.

    Args:
        right: (N,) of single faces.
        reference: (N,) of the same faces, of the model it is compared with.

    Returns:
        ``difference`` and ``difference_ci95``, which is None for a single face.
    """
    change = right.double() - reference.double()
    return {"difference": float(change.mean()), "difference_ci95": mean_interval(change)}


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

    ``mean_c (sum_s (E_{s,c} - E_clean) / sum_s (E'_{s,c} - E'_clean))``: how much worse a model
    gets by corruption, in units of how much worse the reference model gets.

    Args:
        errors: as for `corruption_error`.
        clean: E_clean.
        reference: as for `corruption_error`.
        reference_clean: E'_clean.

    Returns:
        None if the reference model gets no worse under some corruption: the ratio then means
        nothing.
    """
    ratios = []
    for name, curve in errors.items():
        ours = sum(error - clean for error in curve.values())
        theirs = sum(error - reference_clean for error in reference[name].values())
        ratios.append(_ratio(ours, theirs))
    return _mean(ratios)


def _ratio(part: float, whole: float) -> float | None:
    # An error rate is a multiple of 1 / N: what is smaller is rounding.
    return part / whole if whole > 1e-9 else None


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined and len(defined) == len(values) else None
