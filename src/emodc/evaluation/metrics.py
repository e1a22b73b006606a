"""Metrics of a classifier, from predicted classes or class probabilities.

Everything is computed from what is passed in, in float64, and no figure depends on the order
of the images. What is undefined (the recall of a class without images) is None, not 0.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

ECE_BINS = 15
"""Bins of the calibration error."""

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % point."""


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of images whose predicted class is the true one.

    Args:
        predicted: (N,) int64, N >= 1.
        labels: (N,) int64, true classes.
    """
    return float((predicted == labels).double().mean())


def accuracy_interval(correct: float, images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of an accuracy, as shares in [0, 1].

    The score interval, which stays inside [0, 1] and is honest for few images (Wilson, JASA
    1927).

    Args:
        correct: images classified correctly, 0 <= correct <= images; not whole where each image
            counts with the share of several trials that went well.
        images: N >= 1.
    """
    share, extra = correct / images, Z95**2 / images
    center = (share + extra / 2) / (1 + extra)
    half = Z95 * math.sqrt(share * (1 - share) / images + extra / (4 * images)) / (1 + extra)
    return max(0.0, center - half), min(1.0, center + half)


def confusion_matrix(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Count the images of each true class that were given each class.

    Args:
        predicted: (N,) int64 in 0..K-1.
        labels: (N,) int64 in 0..K-1.
        num_classes: K.

    Returns:
        (K, K) int64, row = true class, column = predicted class.
    """
    cells = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return cells.view(num_classes, num_classes)


def mean_class_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the mean recall over the classes that have images (balanced accuracy).

    Args:
        predicted: (N,) int64, N >= 1.
        labels: (N,) int64, true classes.
    """
    support = torch.bincount(labels)
    hits = torch.bincount(labels[predicted == labels], minlength=len(support))
    present = support > 0
    return float((hits[present] / support[present].double()).mean())


def per_class(confusion: Tensor) -> list[dict[str, float | int | None]]:
    """Return precision, recall, F1 and support of every class.

    Args:
        confusion: (K, K) from `confusion_matrix`.

    Returns:
        K dictionaries. Recall is None for a class without images, precision for one never
        predicted, F1 for one that is neither.
    """
    rows = []
    for k in range(len(confusion)):
        hits, support = int(confusion[k, k]), int(confusion[k].sum())
        given = int(confusion[:, k].sum())
        rows.append(
            {
                "precision": _ratio(hits, given),
                "recall": _ratio(hits, support),
                "f1": _ratio(2 * hits, support + given),
                "support": support,
            }
        )
    return rows


def macro_f1(confusion: Tensor) -> float:
    """Return the mean F1 over the classes that have images or were predicted.

    Args:
        confusion: (K, K) from `confusion_matrix`, not all zero.
    """
    defined = [row["f1"] for row in per_class(confusion) if row["f1"] is not None]
    return sum(defined) / len(defined)


def negative_log_likelihood(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean of ``-log p(true class)`` in nats.

    Args:
        probabilities: (N, K) float64, rows sum to 1. A probability that underflowed to 0
            counts as the smallest normal number, 708 nats.
        labels: (N,) int64.
    """
    p_true = probabilities.double().gather(1, labels.unsqueeze(1))
    return float(-p_true.clamp_min(torch.finfo(torch.float64).tiny).log().mean())


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error of the predicted class.

    The mean over the images of |confidence - accuracy| of their bin; bins hold equally many
    images each, which is less biased than bins of equal width (Roelofs et al., "Mitigating
    Bias in Calibration Error Estimation", AISTATS 2022).

    Args:
        probabilities: (N, K), rows sum to 1; N >= 1.
        labels: (N,) int64.
        bins: number of bins; N if there are fewer images.
    """
    binned = reliability(probabilities, labels, bins)
    off = sum(images * abs(right - confidence) for images, confidence, right in binned)
    return off / len(labels)


def reliability(
    probabilities: Tensor, labels: Tensor, bins: int = ECE_BINS
) -> list[tuple[int, float, float]]:
    """Return images, mean confidence and accuracy of each bin, by rising confidence.

    Args:
        probabilities: as for `calibration_error`.
        labels: likewise.
        bins: likewise.
    """
    confidence, predicted = probabilities.double().max(dim=1)
    # Images of equal confidence share their mean correctness, else their order would decide
    # which of them end up in the same bin.
    _, inverse = np.unique(confidence.cpu().numpy(), return_inverse=True)
    level = torch.from_numpy(inverse)  # (N,)
    correct = torch.zeros(len(confidence), dtype=torch.float64)
    correct = correct.index_add(0, level, (predicted == labels).double())[level]
    order = confidence.argsort()
    pairs = torch.stack([confidence, correct / level.bincount()[level]])[:, order]  # (2, N)
    binned = pairs.tensor_split(min(bins, len(labels)), dim=1)
    return [(part.shape[1], *part.mean(dim=1).tolist()) for part in binned]


def calibration_error_interval(
    probabilities: Tensor, labels: Tensor, resamples: int = 200
) -> tuple[float, float]:
    """Return the 95 % bootstrap percentile interval of `calibration_error`.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,) int64.
        resamples: number of bootstrap samples, drawn with a fixed seed.
    """
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(resamples):
        drawn = torch.from_numpy(rng.integers(0, len(labels), len(labels)))
        errors.append(calibration_error(probabilities[drawn], labels[drawn]))
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def summarize(probabilities: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Return every metric of this module, ready for JSON.

    Args:
        probabilities: (N, K) float64, rows sum to 1; the predicted class is the largest.
        labels: (N,) int64 in 0..K-1, N >= 1.
        classes: K names.

    Returns:
        ``accuracy``, ``accuracy_ci95``, ``mean_class_accuracy``, ``macro_f1``, ``nll`` (nats),
        ``ece``, ``n_images``, ``chance`` (1 / K), ``majority_class_floor`` (the accuracy of
        always answering the most frequent class), ``per_class`` by name, ``confusion`` (rows =
        truth) and ``labels``, the names in the order of its rows.
    """
    predicted, images = probabilities.argmax(dim=1), len(labels)
    confusion = confusion_matrix(predicted, labels, len(classes))
    return {
        "accuracy": accuracy(predicted, labels),
        "accuracy_ci95": list(accuracy_interval(int(confusion.trace()), images)),
        "mean_class_accuracy": mean_class_accuracy(predicted, labels),
        "macro_f1": macro_f1(confusion),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": calibration_error(probabilities, labels),
        "n_images": images,
        "chance": 1 / len(classes),
        "majority_class_floor": int(confusion.sum(dim=1).max()) / images,
        "per_class": dict(zip(classes, per_class(confusion), strict=True)),
        "confusion": confusion.tolist(),
        "labels": list(classes),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
