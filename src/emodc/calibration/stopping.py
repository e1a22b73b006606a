"""Fitting sequential scoring: the forecast, and the stopping thresholds that keep a promise."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emodc.calibration.posterior import (
    binomial_tail,
    fit_gap_model,
    fit_posterior,
    least_probability,
)
from emodc.evaluation.metrics import (
    accuracy,
    calibration_error,
    calibration_error_interval,
    negative_log_likelihood,
)
from emodc.method.draws import spaced_timesteps
from emodc.method.errors import mean_errors
from emodc.method.forecast import Forecast, gap_covariance
from emodc.method.sequential import Outcome, Rule, Settled, draw_order, score_sequentially
from emodc.model.decision import Adaptive, Stop

DELTAS = (0.005, 0.0075, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.03, 0.05, 0.1)
"""Shares of differing answers for which stopping thresholds are sought."""

_THRESHOLDS = tuple(6.0 * 0.95**i for i in range(62))  # from 6 down to 0.26 standard errors


@dataclass(frozen=True)
class Half:
    """One half of the validation images.

    Attributes:
        errors: (N, K, S) float32.
        labels: (N,) int64.
    """

    errors: Tensor
    labels: Tensor


def simulate(
    errors: Tensor, weights: Tensor, rule: Rule, block: int, budget: int | None = None
) -> Outcome:
    """Score sequentially from errors that are known already.

    Args:
        errors: (N, K, S) float32.
        weights: (S,) weights of the draws, of mean 1.
        rule: which classes stay.
        block: draws in a block.
        budget: most draws for an image.
    """
    images, classes, steps = errors.shape
    return score_sequentially(
        lambda image, draw, prompts: errors[image.unsqueeze(1), prompts, draw.unsqueeze(1)],
        images,
        classes,
        draw_order(steps),
        rule,
        block=block,
        weights=weights,
        budget=budget,
        pairs=images * block,
    )


def close_gaps(errors: Tensor, weights: Tensor) -> Tensor:
    """Return (N, S) float64: the gap of the two best classes under every draw, weighted."""
    weighted = errors.double() * weights
    best = weighted.mean(dim=2).topk(2, dim=1, largest=False).indices  # (N, 2)
    rows = torch.arange(len(errors))
    return weighted[rows, best[:, 1]] - weighted[rows, best[:, 0]]


def stopping_thresholds(
    hold: Tensor, weights: Tensor, forecast: Forecast, block: int, confidence: float
) -> dict[float, float]:
    """Return the boldest certified threshold for each delta that can be certified.

    Learn then test (Angelopoulos et al., arXiv 2110.01052): thresholds are tried from the safest
    down; each is certified for delta if so few of the images got another answer than with all
    draws that a rate above delta would show so few with a probability of at most
    ``1 - confidence``. The first that fails ends the sequence, which keeps the error of the whole
    search at that level.

    Args:
        hold: (N, K, S) errors of images that fitted nothing.
        weights: (S,) weights of the draws.
        forecast: fitted on other images.
        block: draws in a block.
        confidence: in (0, 1).
    """
    final = mean_errors(hold, weights).argmin(dim=1)
    found: dict[float, float] = {}
    open_deltas = set(DELTAS)
    for threshold in _THRESHOLDS:
        rule = Settled(threshold=threshold, forecast=forecast)
        differ = int((simulate(hold, weights, rule, block).label != final).sum())
        open_deltas = {
            delta
            for delta in open_deltas
            if binomial_tail(differ, len(hold), delta) <= 1 - confidence
        }
        if not open_deltas:
            break
        found |= dict.fromkeys(open_deltas, threshold)
    return dict(sorted(found.items()))


def fit_adaptive(
    fit: Half,
    hold: Half,
    weights: Tensor,
    timesteps: int,
    block: int,
    confidence: float,
    coverage: float,
) -> tuple[Adaptive | None, list[dict[str, float]]]:
    """Return the settings, and for every stop its work and answers on the held-out half.

    Args:
        fit: the images that fit.
        hold: the images that certify, and that are reported on.
        weights: (S,) weights of the draws.
        timesteps: T.
        block: draws in a block.
        confidence: see `stopping_thresholds`.
        coverage: share of images whose true class the prediction sets shall hold.
    """
    steps = fit.errors.shape[2]
    t, order = spaced_timesteps(timesteps, steps), draw_order(steps)
    between, within = fit_gap_model(close_gaps(fit.errors, weights), t, timesteps)
    forecast = Forecast(gap_covariance(between, within, t[order], timesteps))
    thresholds = stopping_thresholds(hold.errors, weights, forecast, block, confidence)
    final = mean_errors(hold.errors, weights).argmin(dim=1)
    stops, figures = [], []
    for delta, threshold in thresholds.items():
        rule = Settled(threshold=threshold, forecast=forecast)
        scale, power = fit_posterior(simulate(fit.errors, weights, rule, block).gaps, fit.labels)
        outcome = simulate(hold.errors, weights, rule, block)
        stop = Stop(
            delta=delta, threshold=threshold, scale=scale, power=power, least_probability=0.0
        )
        probabilities = stop.probabilities(outcome.gaps)
        least = least_probability(probabilities, hold.labels, coverage)
        stops.append(stop.model_copy(update={"least_probability": least}))
        figures.append(
            {
                "delta": delta,
                "differ": float((outcome.label != final).double().mean()),
                "draws": float(outcome.draws.double().mean()),
                **figures_of(probabilities, hold.labels),
            }
        )
    if not stops:
        return None, []
    adaptive = Adaptive(
        steps=steps,
        block=block,
        covariance=tuple(map(tuple, between.tolist())),
        noise=tuple(within.tolist()),
        confidence=confidence,
        stops=tuple(stops),
    )
    return adaptive, figures


def figures_of(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return how good probabilities are, for the report.

    Args:
        probabilities: (N, K) float64.
        labels: (N,) int64.
    """
    return {
        "accuracy": accuracy(probabilities.argmax(dim=1), labels),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": calibration_error(probabilities, labels),
        "ece_ci95": list(calibration_error_interval(probabilities, labels)),
    }
