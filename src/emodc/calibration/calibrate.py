"""Calibrating a model: fitting its `Decision` on validation data.

Half of the images fits the weights of the timesteps and the temperatures. The other half, which
these have not seen, gives the stopping thresholds and prediction sets their guarantees, and the
figures reported.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emodc.calibration.noise import account_for_noise
from emodc.calibration.posterior import (
    best_steps,
    fit_posterior,
    fit_prior,
    fit_scale,
    fit_weights,
)
from emodc.calibration.stopping import Half, figures_of, fit_adaptive, stop_figures
from emodc.calibration.typicality import fit_typicality
from emodc.data.face_data import FaceData
from emodc.data.subset import stratified_subset
from emodc.inference.dataset_scores import score_errors, score_images
from emodc.method.errors import mean_errors, posterior
from emodc.model.decision import Decision, FewSteps
from emodc.model.held_out import HeldOut
from emodc.model.label_shift import with_prior
from emodc.model.model import Model
from emodc.model.prior import ClassPrior, smoothed_shares
from emodc.support.distributed import ALONE, World
from emodc.support.timing import Progress, unheard

FEW = (1, 2, 4, 8, 16)
"""Numbers of draws for which the best timesteps are sought."""

DEFAULT_PRIOR = "balanced-power=0.75"
"""Of a calibrated model, for users who ask for none; chosen in docs/other-data.md."""

_LEAST_IMAGES = 50  # for halves of which one fits, and the other certifies
_LEAST_FOR_SCALE = 10
_FOLDS = 5

logger = logging.getLogger(__name__)


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
    span: tuple[int, int] | None = None,
    prior: str | Mapping[str, float] = DEFAULT_PRIOR,
    folder: Path | None = None,
    progress: Progress = unheard,
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
        prior: of the answers where users ask for none; see `emodc.model.label_shift.with_prior`.
        span: take draws at these timesteps alone, see `emodc.model.decision.Decision`; those of the
            model if not given.
        folder: where measured errors are kept; an interrupted calibration goes on there.
        progress: is told how far the measuring is.
        world: the processes that share the measuring; all of them get the model.

    Returns:
        The model with its new decision, and ``facts["calibration"]``: data, number of images,
        date, whether noise is accounted for, and figures on the half that fitted nothing, under
        the training prior. With fewer than 50 images, only the scale is fitted, and the figures
        are cross-validated. A baseline that is shown noise only learns to account for it; its
        temperature was fitted in training.

    Raises:
        ValueError: the model is a baseline that is shown no noise, the dataset has other classes
            than the model, or fewer than 10 readable images; ``span`` is out of range; ``folder``
            holds other errors.
        OSError: ``folder`` cannot be written.
    """
    if not model.sees_noise:
        raise ValueError(
            f"'{model.name}' is a discriminative classifier: its temperature was fitted in "
            "training, and there is no more to calibrate"
        )
    if data.label_set.classes != model.label_set.classes:
        raise ValueError(
            f"the model tells {', '.join(model.label_set.classes)} apart, the dataset has "
            f"{', '.join(data.label_set.classes)}; calibrate on data with the model's classes"
        )
    if span is not None:
        model = replace(model, decision=_within(model.decision, span, model.schedule.timesteps))
    if limit is not None:
        data = data.subset(stratified_subset(data.labels, limit, seed))
    noise: dict[str, Any] = {}
    if len(data) >= _LEAST_IMAGES or not model.backbone.generative:
        model, noise = account_for_noise(
            model, data, seed=seed, folder=folder, progress=progress, world=world
        )
    facts: dict[str, Any] = {
        "data": data.name,
        "split": data.split,
        "fingerprint": data.fingerprint(),
        "seed": seed,
        "date": date.today().isoformat(),
        "noise": noise,
    }
    if not model.backbone.generative:
        return replace(model, facts={**model.facts, "calibration": facts})
    score = score_errors(model, steps=steps, seed=seed)
    settings = {"steps": steps, "seed": seed}
    scores = score_images(
        model, data, score, settings, folder=folder, progress=progress, world=world
    )
    labels = torch.from_numpy(data.labels)[scores.index]
    facts |= {"images": len(labels), "steps": steps}
    if len(labels) < _LEAST_IMAGES:
        decision, facts["held_out"] = _fit_scale_alone(
            model, scores.values["errors"], labels, data.name
        )
        return replace(model, decision=decision, facts={**model.facts, "calibration": facts})
    fit, hold = _halves(scores.values["errors"], labels, seed)
    timesteps = model.schedule.timesteps
    decision = fit_decision(model.decision, fit, timesteps, block, confidence, coverage)
    held_out = HeldOut.of(hold.errors, hold.labels)
    decision = held_out.certify(decision, timesteps)
    typical = fit_typicality(model, data, seed=seed, folder=folder, progress=progress, world=world)
    calibrated = replace(model, decision=decision, held_out=held_out, typicality=typical)
    facts["held_out"] = {
        "images": len(hold.labels),
        "before": _held_out(model, hold),
        "after": _held_out(calibrated, hold),
        "stops": stop_figures(decision, hold, timesteps),
    }
    calibrated = replace(calibrated, facts={**model.facts, "calibration": facts})
    return with_prior(calibrated, prior)


def _within(decision: Decision, span: tuple[int, int], timesteps: int) -> Decision:
    """Return a decision with draws in a range of timesteps, and nothing fitted for others.

    Raises:
        ValueError: it is not a range of the T timesteps.
    """
    if not 0 <= span[0] < span[1] <= timesteps:
        raise ValueError(
            f"timesteps must be a range within 0 to {timesteps}, not {span[0]} to {span[1]}"
        )
    unfitted = {"weights": (), "adaptive": None, "few_steps": (), "least_probability": None}
    return decision.model_copy(update={"span": span, **unfitted})


def fit_decision(
    decision: Decision,
    fit: Half,
    timesteps: int,
    block: int,
    confidence: float,
    coverage: float,
) -> Decision:
    """Return the decision under the training prior, with nothing certified yet.

    Args:
        decision: how images are shown, and the prior it was trained on, stay as it says; if that
            is not known, it is taken to be that of these images.
        fit: the images that fit.
        timesteps: T.
        block: see `calibrate`.
        confidence: see `calibrate`.
        coverage: see `calibrate`.
    """
    classes, steps = fit.errors.shape[1:]
    t = decision.timesteps(timesteps, steps)
    weights = fit_weights(fit.errors, fit.labels)
    means = mean_errors(fit.errors, weights)
    known = decision.prior
    expected = None if known is None else torch.tensor(known.effective, dtype=torch.float64)
    nats, effective = fit_prior(means, fit.labels, expected)
    counts = torch.bincount(fit.labels, minlength=classes).tolist()
    training = smoothed_shares(counts) if known is None else known.training
    prior = ClassPrior(
        training=training, effective=tuple(effective.tolist()), nats=nats, asked=training
    )
    scale, power = fit_posterior(means + prior.handicap(), fit.labels)
    few = best_steps(fit.errors, fit.labels, [m for m in FEW if m < steps])
    fitted = Decision(
        mirror=decision.mirror,
        noise_floor=decision.noise_floor,
        span=decision.span,
        scale=scale,
        power=power,
        weights=() if bool((weights == 1).all()) else tuple(weights.tolist()),
        few_steps=tuple(
            FewSteps(
                t=tuple(t[list(chosen)].tolist()),
                scale=fit_scale(fit.errors[:, :, list(chosen)], fit.labels),
            )
            for chosen in few.values()
        ),
        coverage=coverage,
        prior=prior,
    )
    adaptive = fit_adaptive(fitted, fit, timesteps, block, confidence)
    return fitted.model_copy(update={"adaptive": adaptive})


def _fit_scale_alone(
    model: Model, errors: Tensor, labels: Tensor, name: str
) -> tuple[Decision, dict[str, Any]]:
    """Return what few images can fit, the scale, and how good it is on images it has not seen.

    Args:
        model: what is calibrated; how it is shown images stays as it is.
        errors: (N, K, S) float32.
        labels: (N,) int64.
        name: of the data, for messages.

    Raises:
        ValueError: there are too few images for that as well.
    """
    if len(labels) < _LEAST_FOR_SCALE:
        raise ValueError(
            f"{name}: {len(labels)} images can be read; calibration takes at least "
            f"{_LEAST_FOR_SCALE} for the scale of the probabilities, and {_LEAST_IMAGES} for "
            "sequential scoring and prediction sets as well"
        )
    logger.warning(
        "%s: %d images are few: only the scale of the probabilities was fitted, by "
        "cross-validation; sequential scoring and prediction sets take at least %d",
        name,
        len(labels),
        _LEAST_IMAGES,
    )
    means = mean_errors(errors)
    fold = torch.arange(len(labels)) % _FOLDS
    unseen = torch.empty(means.shape, dtype=torch.float64)
    for number in range(_FOLDS):
        scale = fit_scale(means[fold != number], labels[fold != number])
        unseen[fold == number] = posterior(errors[fold == number], scale)
    t = model.decision.timesteps(model.schedule.timesteps, errors.shape[2])
    before = model.decision.probabilities(errors, t, model.schedule.timesteps)
    figures = {
        "images": len(labels),
        "folds": _FOLDS,
        "before": figures_of(before, labels),
        "after": figures_of(unseen, labels),
        "stops": [],
    }
    scale, prior = fit_scale(means, labels), model.decision.prior
    fitted = Decision(
        mirror=model.decision.mirror,
        noise_floor=model.decision.noise_floor,
        span=model.decision.span,
        scale=scale,
        prior=prior and prior.model_copy(update={"nats": scale, "asked": None}),
    )
    return fitted, figures


def _held_out(model: Model, hold: Half) -> dict[str, Any]:
    """Return how good the model's probabilities are on the half that fitted nothing."""
    timesteps = model.schedule.timesteps
    t = model.decision.timesteps(timesteps, hold.errors.shape[2])
    return figures_of(model.decision.probabilities(hold.errors, t, timesteps), hold.labels)


def _halves(errors: Tensor, labels: Tensor, seed: int) -> tuple[Half, Half]:
    chosen = stratified_subset(labels.numpy(), len(labels) // 2, seed)
    first = torch.zeros(len(labels), dtype=torch.bool)
    first[torch.from_numpy(np.asarray(chosen))] = True
    return Half(errors[first], labels[first]), Half(errors[~first], labels[~first])
