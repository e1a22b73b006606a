"""Fitting sequential scoring: the forecast, and the stopping thresholds that keep a promise."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emodc.calibration.posterior import fit_gap_model, fit_posterior
from emodc.evaluation.metrics import (
    accuracy,
    calibration_error,
    calibration_error_interval,
    negative_log_likelihood,
)
from emodc.method.sequential import draw_order
from emodc.method.stopping import simulate
from emodc.model.adaptive import Adaptive, Stop
from emodc.model.decision import Decision

_FITTED_AT = (6.0, 3.0, 1.5, 0.75, 0.4, 0.25)  # thresholds: their scales differ little


@dataclass(frozen=True)
class Half:
    """One half of the validation images.

    Attributes:
        errors: (N, K, S) float32.
        labels: (N,) int64.
    """

    errors: Tensor
    labels: Tensor


def close_gaps(errors: Tensor, weights: Tensor) -> Tensor:
    """Return (N, S) float64: the gap of the two best classes under every draw, weighted."""
    weighted = errors.double() * weights
    best = weighted.mean(dim=2).topk(2, dim=1, largest=False).indices  # (N, 2)
    rows = torch.arange(len(errors))
    return weighted[rows, best[:, 1]] - weighted[rows, best[:, 0]]


def fit_adaptive(
    decision: Decision, fit: Half, timesteps: int, block: int, confidence: float
) -> Adaptive:
    """Return the settings, with scales for some thresholds, none of which is certified yet.

    `emodc.model.held_out.HeldOut.certify` puts certified stops in their place.

    Args:
        decision: fitted on the same images.
        fit: the images that fit.
        timesteps: T.
        block: draws in a block.
        confidence: see `emodc.method.stopping.stopping_thresholds`.
    """
    steps = fit.errors.shape[2]
    t, order = decision.timesteps(timesteps, steps), draw_order(steps)
    weights = decision.weights_at(t, timesteps)
    between, within = fit_gap_model(close_gaps(fit.errors, weights), *decision.within(t, timesteps))
    unfitted = Stop(delta=0.5, threshold=1.0, scale=decision.scale, least_probability=(0.0,))
    adaptive = Adaptive(
        steps=steps,
        block=block,
        covariance=tuple(map(tuple, between.tolist())),
        noise=tuple(within.tolist()),
        confidence=confidence,
        stops=(unfitted,),
    )
    deciding = decision.model_copy(update={"adaptive": adaptive})
    stops = []
    for threshold in _FITTED_AT:
        stop = unfitted.model_copy(update={"threshold": threshold})
        rule = deciding.rule(stop, t, timesteps, order, fit.errors.shape[1])
        gaps = simulate(fit.errors, weights, rule, block).gaps
        scale, power = fit_posterior(gaps, fit.labels)
        stops.append(stop.model_copy(update={"scale": scale, "power": power}))
    return adaptive.model_copy(update={"stops": tuple(stops)})


def stop_figures(decision: Decision, hold: Half, timesteps: int) -> list[dict[str, Any]]:
    """Return for every stop its work and answers on the held-out half.

    Args:
        decision: certified on that half.
        hold: the images that fitted nothing.
        timesteps: T.
    """
    if decision.adaptive is None:
        return []
    count, steps = hold.errors.shape[1:]
    t = decision.timesteps(timesteps, steps)
    weights = decision.weights_at(t, timesteps)
    final = decision.logits(hold.errors, t, timesteps).argmax(dim=1)
    figures = []
    for stop in decision.adaptive.stops:
        rule = decision.rule(stop, t, timesteps, draw_order(steps), count)
        outcome = simulate(hold.errors, weights, rule, decision.adaptive.block)
        figures.append(
            {
                "delta": stop.delta,
                "differ": float((outcome.label != final).double().mean()),
                "draws": float(outcome.draws.double().mean()),
                **figures_of(stop.probabilities(outcome.gaps), hold.labels),
            }
        )
    return figures


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
