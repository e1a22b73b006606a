"""From x0 to answers: plain or sequential scoring, as the model's `Decision` says."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emodc.checkpoint import Model
from emodc.classifier import (
    DEFAULT_PAIRS,
    DrawBank,
    class_errors,
    draw_bank,
    measure_errors,
    posterior,
)
from emodc.decision import Adaptive
from emodc.sequential import Outcome, Settled, block_order, score_sequentially

DEFAULT_STEPS = 20
"""Draws for each image with a model that was not calibrated."""

DEFAULT_DELTA = 0.02
"""Share of answers that may differ from those of all draws, with a calibrated model."""


@dataclass(frozen=True)
class Answers:
    """Probabilities, and the work they took.

    Attributes:
        probabilities: (B, K) float64, rows sum to 1; the answer is the largest.
        gap_error: (B,) float64, standard error of the mean gap between the answer and its closest
            rival, in units of the errors.
        draws: (B,) int64, draws taken: passes of a trunk that all prompts share.
        evaluations: (B,) int64, (draw, prompt) pairs evaluated.
        least_probability: the prediction set holds the classes at least this probable; None if
            the model was not calibrated.
    """

    probabilities: Tensor
    gap_error: Tensor
    draws: Tensor
    evaluations: Tensor
    least_probability: float | None


def plain_answers(model: Model, errors: Tensor, t: Tensor) -> Answers:
    """Return the answers from all the draws' errors.

    Args:
        model: says how errors become probabilities.
        errors: (B, K, S) float32.
        t: (S,) int64, the draws' timesteps.
    """
    images, classes, steps = errors.shape
    weights = model.decision.weights_at(t, model.schedule.timesteps)
    decision = model.decision
    probabilities = posterior(errors, decision.scale, weights, decision.power)
    best = probabilities.topk(2, dim=1).indices  # (B, 2)
    rows = torch.arange(images)
    gap = (errors[rows, best[:, 1]] - errors[rows, best[:, 0]]).double() * weights  # (B, S)
    error = gap.std(dim=1) / steps**0.5 if steps > 1 else torch.full((images,), torch.nan)
    return Answers(
        probabilities=probabilities,
        gap_error=error,
        draws=torch.full((images,), steps),
        evaluations=torch.full((images,), steps * classes),
        least_probability=model.decision.least_probability,
    )


def sequential_outcome(
    model: Model,
    x0: Tensor,
    bank: DrawBank,
    delta: float,
    *,
    budget: int | None = None,
    classes: Sequence[int] | None = None,
    pairs: int = DEFAULT_PAIRS,
) -> Outcome:
    """Score images with as few draws as the promise allows.

    Args:
        model: a calibrated model.
        x0: (B, C, H, W) on the model's device.
        bank: the S draws of ``model.decision.adaptive.steps``.
        delta: share of images whose answer may differ from that of all S draws.
        budget: most draws for an image.
        classes: K' class ids to choose from; all if not given.
        pairs: see `emodc.classifier.measure_errors`.

    Raises:
        ValueError: the model was not calibrated, or not for such a delta.
    """
    adaptive = require_adaptive(model)
    ids = torch.tensor(range(len(model.label_set)) if classes is None else classes)
    measure = measure_errors(model.backbone.predict_noise, model.schedule, x0, bank, pairs)
    return score_sequentially(
        lambda image, draw, prompts: measure(image, draw, ids[prompts]),
        len(x0),
        len(ids),
        block_order(len(bank), adaptive.block),
        Settled(threshold=adaptive.stop(delta).threshold, variance=adaptive.variance),
        block=adaptive.block,
        weights=model.decision.weights_at(bank.t, model.schedule.timesteps),
        budget=budget,
        drop_classes=not model.backbone.shares_trunk,
        variance=adaptive.variance,
        pairs=pairs,
    )


def sequential_answers(model: Model, outcome: Outcome, delta: float) -> Answers:
    """Return the answers from what `sequential_outcome` found with the same ``delta``."""
    stop = require_adaptive(model).stop(delta)
    return Answers(
        probabilities=posterior(outcome.gaps.unsqueeze(2), stop.scale, power=stop.power),
        gap_error=outcome.gap_error,
        draws=outcome.draws,
        evaluations=outcome.evaluations,
        least_probability=stop.least_probability,
    )


def require_adaptive(model: Model) -> Adaptive:
    """Return the model's settings of sequential scoring.

    Raises:
        ValueError: it was not calibrated.
    """
    if model.decision.adaptive is None:
        raise ValueError(
            f"model '{model.name}' has no stopping thresholds: run emodc calibrate on it, or give "
            "a number of steps"
        )
    return model.decision.adaptive


class Scorer:
    """Turns x0 into answers in one of two ways.

    With ``steps``, plainly: so many evenly spaced draws. Otherwise, with a calibrated model,
    sequentially; with one that is not, plainly with `DEFAULT_STEPS`.

    Args:
        model: what scores.
        steps: S, 1..T.
        delta: share of images whose answer may differ from that of all draws; if not given,
            `DEFAULT_DELTA`, or the least that was certified.
        budget: most draws for an image, without ``steps``.
        seed: of the draws.

    Raises:
        ValueError: ``steps`` together with ``delta`` or ``budget``; a number out of range; a
            ``delta`` for which the model was not calibrated.
    """

    def __init__(
        self,
        model: Model,
        *,
        steps: int | None = None,
        delta: float | None = None,
        budget: int | None = None,
        seed: int = 0,
    ) -> None:
        if steps is not None and not (delta is None and budget is None):
            raise ValueError("give either a number of steps, or delta and budget, not both")
        if budget is not None and budget < 1:
            raise ValueError(f"a budget is at least one draw, not {budget}")
        self._model, self._budget, self._delta = model, budget, delta
        adaptive = model.decision.adaptive
        if steps is None and (adaptive is not None or delta is not None):
            adaptive = require_adaptive(model)
            least = adaptive.stops[0].delta
            self._delta = max(DEFAULT_DELTA, least) if delta is None else delta
            adaptive.stop(self._delta)  # complains if there is none
            steps = adaptive.steps
        elif steps is None:
            steps = min(DEFAULT_STEPS, budget or DEFAULT_STEPS)
        shape = model.settings.codec.shape
        self._bank = draw_bank(model.schedule.timesteps, steps, shape, seed)

    def errors(self, x0: Tensor) -> Tensor:
        """Return the errors under all the draws: (B, C, H, W) -> (B, K, S) float32."""
        model = self._model
        return class_errors(
            model.backbone.predict_noise, model.schedule, x0, self._bank, len(model.label_set)
        )

    def __call__(self, x0: Tensor) -> Answers:
        """Return the answers for the images (B, C, H, W) on the model's device."""
        if self._delta is None:
            return plain_answers(self._model, self.errors(x0), self._bank.t)
        outcome = sequential_outcome(self._model, x0, self._bank, self._delta, budget=self._budget)
        return sequential_answers(self._model, outcome, self._delta)
