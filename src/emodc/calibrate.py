"""Calibrating a model: everything of its `Decision` that validation data can tell.

Half of the images fits the weights of the timesteps and the temperatures. The other half, which
these have not seen, gives the stopping thresholds and prediction sets their guarantees, and the
figures reported.
"""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emodc.answers import plain_answers
from emodc.backbones.base import Classifier
from emodc.calibration import (
    best_steps,
    binomial_tail,
    fit_gap_model,
    fit_posterior,
    fit_scale,
    fit_weights,
    least_probability,
)
from emodc.checkpoint import Model
from emodc.classifier import posterior, spaced_timesteps
from emodc.data.base import FaceData
from emodc.data.subset import stratified_subset
from emodc.decision import Adaptive, Decision, FewSteps, Stop
from emodc.forecast import Forecast, gap_covariance
from emodc.metrics import (
    accuracy,
    calibration_error,
    calibration_error_interval,
    negative_log_likelihood,
)
from emodc.scoring import Progress, score_errors, score_images
from emodc.sequential import Outcome, Rule, Settled, draw_order, score_sequentially
from emodc.world import ALONE, World

DELTAS = (0.005, 0.0075, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.03, 0.05, 0.1)
"""Shares of differing answers for which stopping thresholds are sought."""

FEW = (1, 2, 4, 8, 16)
"""Numbers of draws for which the best timesteps are sought."""

_THRESHOLDS = tuple(6.0 * 0.95**i for i in range(62))  # from 6 down to 0.26 standard errors
_LEAST_IMAGES = 50


@dataclass(frozen=True)
class _Half:
    """Errors (N, K, S) and classes (N,) of half of the images."""

    errors: Tensor
    labels: Tensor


def calibrate(
    model: Model,
    data: FaceData,
    *,
    steps: int = 100,
    block: int = 2,
    seed: int = 0,
    limit: int | None = None,
    confidence: float = 0.95,
    coverage: float = 0.9,
    folder: Path | None = None,
    progress: Progress = lambda done, total: None,
    world: World = ALONE,
) -> Model:
    """Fit a model's decision on validation data.

    Args:
        model: what to calibrate; its weights stay as they are.
        data: images that it was not trained on, and that will not be reported on.
        steps: S of the answer that sequential scoring aims at.
        block: draws that it takes at a time.
        seed: of the draws.
        limit: use a stratified subset of this many images.
        confidence: with which each stopping threshold keeps its promise.
        coverage: share of images whose true class the prediction set shall hold.
        folder: where measured errors are kept; an interrupted calibration goes on there.
        progress: is told how far the measuring is.
        world: the processes that share the measuring; all of them get the model.

    Returns:
        The model with its new decision, and ``facts["calibration"]``: data, number of images,
        date, and figures on the half that fitted nothing.

    Raises:
        ValueError: the model is a rival, the data set has other classes than the model, or fewer
            than 50 readable images; ``folder`` holds other errors.
        OSError: ``folder`` cannot be written.
    """
    if isinstance(model.backbone, Classifier):
        raise ValueError(
            f"'{model.name}' is a discriminative classifier: its temperature was fitted in "
            "training, and there is no more to calibrate"
        )
    if data.label_set.classes != model.label_set.classes:
        raise ValueError(
            f"the model tells {', '.join(model.label_set.classes)} apart, the data set has "
            f"{', '.join(data.label_set.classes)}; calibrate on data with the model's classes"
        )
    if limit is not None:
        data = data.subset(stratified_subset(data.labels, limit, seed))
    score = score_errors(model, steps=steps, seed=seed)
    settings = {"steps": steps, "seed": seed}
    scores = score_images(
        model, data, score, settings, folder=folder, progress=progress, world=world
    )
    if len(scores.index) < _LEAST_IMAGES:
        raise ValueError(
            f"{data.name}: {len(scores.index)} images can be read; "
            f"calibration takes at least {_LEAST_IMAGES}"
        )
    errors = scores.values["errors"]
    labels = torch.from_numpy(data.labels)[scores.index]
    fit, hold = _halves(errors, labels, seed)

    timesteps = model.schedule.timesteps
    t = spaced_timesteps(timesteps, steps)
    weights = fit_weights(fit.errors, fit.labels)
    scale, power = fit_posterior((fit.errors.double() * weights).mean(dim=2), fit.labels)
    probabilities = posterior(hold.errors, scale, weights, power)
    adaptive, stop_figures = _fit_adaptive(
        fit, hold, weights, timesteps, block, confidence, coverage
    )
    few = best_steps(fit.errors, fit.labels, [m for m in FEW if m < steps])
    decision = Decision(
        scale=scale,
        power=power,
        weights=() if bool((weights == 1).all()) else tuple(weights.tolist()),
        adaptive=adaptive,
        few_steps=tuple(
            FewSteps(
                t=tuple(t[list(chosen)].tolist()),
                scale=fit_scale(fit.errors[:, :, list(chosen)], fit.labels),
            )
            for chosen in few.values()
        ),
        coverage=coverage,
        least_probability=least_probability(probabilities, hold.labels, coverage),
    )
    facts = {
        "data": data.name,
        "split": data.split,
        "fingerprint": data.fingerprint(),
        "images": len(labels),
        "steps": steps,
        "seed": seed,
        "date": date.today().isoformat(),
        "held_out": {
            "images": len(hold.labels),
            "before": _figures(plain_answers(model, hold.errors, t).probabilities, hold.labels),
            "after": _figures(probabilities, hold.labels),
            "stops": stop_figures,
        },
    }
    return replace(model, decision=decision, facts={**model.facts, "calibration": facts})


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
    final = (hold.double() * weights).mean(dim=2).argmin(dim=1)
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


def _fit_adaptive(
    fit: _Half,
    hold: _Half,
    weights: Tensor,
    timesteps: int,
    block: int,
    confidence: float,
    coverage: float,
) -> tuple[Adaptive | None, list[dict[str, float]]]:
    """Return the settings, and for every stop its work and answers on the held-out half."""
    steps = fit.errors.shape[2]
    t, order = spaced_timesteps(timesteps, steps), draw_order(steps)
    between, within = fit_gap_model(close_gaps(fit.errors, weights), t, timesteps)
    forecast = Forecast(gap_covariance(between, within, t[order], timesteps))
    thresholds = stopping_thresholds(hold.errors, weights, forecast, block, confidence)
    final = (hold.errors.double() * weights).mean(dim=2).argmin(dim=1)
    stops, figures = [], []
    for delta, threshold in thresholds.items():
        rule = Settled(threshold=threshold, forecast=forecast)
        scale, power = fit_posterior(simulate(fit.errors, weights, rule, block).gaps, fit.labels)
        outcome = simulate(hold.errors, weights, rule, block)
        probabilities = posterior(outcome.gaps.unsqueeze(2), scale, power=power)
        least = least_probability(probabilities, hold.labels, coverage)
        stops.append(
            Stop(
                delta=delta, threshold=threshold, scale=scale, power=power, least_probability=least
            )
        )
        figures.append(
            {
                "delta": delta,
                "differ": float((outcome.label != final).double().mean()),
                "draws": float(outcome.draws.double().mean()),
                **_figures(probabilities, hold.labels),
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


def _halves(errors: Tensor, labels: Tensor, seed: int) -> tuple[_Half, _Half]:
    chosen = stratified_subset(labels.numpy(), len(labels) // 2, seed)
    first = torch.zeros(len(labels), dtype=torch.bool)
    first[torch.from_numpy(np.asarray(chosen))] = True
    return _Half(errors[first], labels[first]), _Half(errors[~first], labels[~first])


def _figures(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    return {
        "accuracy": accuracy(probabilities.argmax(dim=1), labels),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": calibration_error(probabilities, labels),
        "ece_ci95": list(calibration_error_interval(probabilities, labels)),
    }
