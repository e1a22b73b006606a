"""Calibration: fitting the posterior's scale on validation data."""

import math

import torch
from torch import Tensor

LEAST_SCALE, GREATEST_SCALE = 1e-3, 1e6
"""Bounds of the scale, in units of 1 / error: nearly uniform posteriors, and those in which
gaps as small as float32 rounding decide."""

_HALVINGS = 60  # of the log-scale bracket: to the precision of float64


def fit_scale(errors: Tensor, labels: Tensor) -> float:
    """Return the inverse temperature that makes the posterior most likely on these images.

    It minimises the mean of ``-log softmax_y(-scale * d)``, the temperature scaling of Guo et
    al. (ICML 2017, section 4.2) for the diffusion classifier. That is convex in the scale, and
    its slope ``mean(d_y) - mean(E_p d)`` only rises, so bisection finds the minimum.

    Args:
        errors: (N, K, S) from :func:`emodc.classifier.class_errors`, or (N, K) their means.
        labels: (N,) int64, true classes.

    Returns:
        The scale, within `LEAST_SCALE` and `GREATEST_SCALE`; for images that are all
        classified correctly the likelihood rises without end, and one pseudo-image without a
        class (Platt's correction, "Probabilistic Outputs for Support Vector Machines", 1999)
        keeps the confidence to what N images can support.

    Raises:
        ValueError: an error is not finite.
    """
    d = errors.double().reshape(len(labels), errors.shape[1], -1).mean(dim=2)  # (N, K)
    if not bool(d.isfinite().all()):
        raise ValueError("cannot fit the scale: some errors are NaN or infinite")
    # The pseudo-image: every label is uncertain by 1 / (N + 1), spread over the classes.
    doubt = 1 / (len(d) + 1)
    d_y = d.gather(1, labels.unsqueeze(1)).squeeze(1)  # (N,)
    wanted = (1 - doubt) * d_y.mean() + doubt * d.mean()
    low, high = math.log(LEAST_SCALE), math.log(GREATEST_SCALE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (torch.softmax(-math.exp(middle) * d, dim=1) * d).sum(dim=1).mean()
        if wanted < expected:  # the truth lies lower than the posterior thinks: sharpen it
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)
