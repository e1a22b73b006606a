"""From x0 to answers: plain or sequential scoring, as the model's `Decision` says."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypedDict

import torch
from torch import Tensor

from emodc.method.draws import DrawBank
from emodc.method.errors import DEFAULT_PAIRS
from emodc.method.sequential import Outcome, draw_order, score_sequentially
from emodc.model.adaptive import Adaptive, Thresholds
from emodc.model.model import Model
from emodc.support.forks import before_computing

DEFAULT_STEPS = 20
"""Draws for each image with a model that was not calibrated."""

DEFAULT_DELTA = 0.02
"""Share of answers that may differ from those of all draws, with a calibrated model."""


@dataclass(frozen=True)
class Answers:
    """Probabilities, and the work they took.

    Attributes:
        probabilities: (B, K) float64, rows sum to 1; the answer is the largest.
        gap_error: (B,) float64, standard error of the mean gap between the answer and the
            runner-up, in units of the errors.
        draws: (B,) int64, draws taken: passes of a trunk that all prompts share.
        evaluations: (B,) int64, (draw, prompt) pairs evaluated.
        thresholds: (K,) float64, the prediction set holds the classes at least this probable; None
            if the model was not calibrated.

    K counts the classes that the model answers with (`Model.columns`).
    """

    probabilities: Tensor
    gap_error: Tensor
    draws: Tensor
    evaluations: Tensor
    thresholds: Tensor | None


def plain_answers(model: Model, errors: Tensor, t: Tensor) -> Answers:
    """Return the answers from all the draws' errors.

    Args:
        model: says how errors become probabilities.
        errors: (B, K, S) float32, of all its classes.
        t: (S,) int64, the draws' timesteps.
    """
    images, classes, steps = errors.shape
    decision, timesteps = model.decision, model.schedule.timesteps
    probabilities = decision.probabilities(errors, t, timesteps)
    best = model.columns[probabilities.topk(2, dim=1).indices]  # (B, 2)
    rows = torch.arange(images)
    gap = (errors[rows, best[:, 1]] - errors[rows, best[:, 0]]).double()  # (B, S)
    gap = gap * decision.weights_at(t, timesteps)
    error = gap.std(dim=1) / steps**0.5 if steps > 1 else torch.full((images,), torch.nan)
    return Answers(
        probabilities=probabilities,
        gap_error=error,
        draws=torch.full((images,), steps),
        evaluations=torch.full((images,), steps * model.backbone.evaluations(classes)),
        thresholds=_thresholds(model, decision.least_probability),
    )


def sequential_outcome(
    model: Model,
    x0: Tensor,
    bank: DrawBank,
    delta: float,
    *,
    budget: int | None = None,
    pairs: int = DEFAULT_PAIRS,
) -> Outcome:
    """Score images with as few draws as the promise allows.

    Args:
        model: a calibrated model.
        x0: (B, C, H, W) on the model's device.
        bank: the S draws of ``model.decision.adaptive.steps``.
        delta: share of images whose answer may differ from that of all S draws.
        budget: most draws for an image.
        pairs: see `emodc.method.errors.measure_errors`.

    Raises:
        ValueError: the model was not calibrated, or not for such a delta.
    """
    adaptive, decision = require_adaptive(model), model.decision
    ids = model.columns
    measure = model.measure(x0, bank, pairs)
    order, timesteps = draw_order(len(bank)), model.schedule.timesteps
    return score_sequentially(
        lambda image, draw, prompts: measure(image, draw, ids[prompts]),
        len(x0),
        len(ids),
        order,
        decision.rule(adaptive.stop(delta), bank.t, timesteps, order, len(model.label_set)),
        block=adaptive.block,
        weights=decision.weights_at(bank.t, timesteps),
        budget=budget,
        drop_classes=not model.backbone.shares_trunk,
        pairs=pairs,
    )


def sequential_answers(model: Model, outcome: Outcome, delta: float) -> Answers:
    """Return the answers from what `sequential_outcome` found with the same ``delta``."""
    stop = require_adaptive(model).stop(delta)
    return Answers(
        probabilities=stop.probabilities(outcome.gaps),
        gap_error=outcome.gap_error,
        draws=outcome.draws,
        evaluations=outcome.evaluations,
        thresholds=_thresholds(model, stop.least_probability),
    )


def _thresholds(model: Model, least: Thresholds | None) -> Tensor | None:
    return None if least is None else model.decision.thresholds(least, len(model.label_set))


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


class Scoring(TypedDict, total=False):
    """How faces are scored; every option may be left out.

    Attributes:
        steps: exactly this many evenly spaced draws for each face, 1..T; if not given, as many as
            it takes with a calibrated model, else `DEFAULT_STEPS`.
        delta: share of answers that may differ from those of all draws; takes a calibrated model.
            If neither it nor ``steps`` is given, `DEFAULT_DELTA`, or the least that was certified.
        budget: most draws for a face, without ``steps``.
        seed: of the draws, 0 if not given; same seed, same answer, whatever else is asked about.
    """

    steps: int | None
    delta: float | None
    budget: int | None
    seed: int


def check_options(options: Mapping[str, object], *others: str) -> None:
    """Refuse options of scoring that there are not, as Python refuses unknown keywords.

    Args:
        options: by name, meant to be a `Scoring`.
        others: names that the caller takes beside them.

    Raises:
        TypeError: one is unknown; the message names those that are known.
    """
    known = [*Scoring.__annotations__, *others]
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f", perhaps {close[0]}?" if close else ""
            raise TypeError(f"unknown option '{name}': give {', '.join(known)}{meant}")


def check_scoring(steps: int | None, delta: float | None, budget: int | None) -> None:
    """Refuse options that ask for plain and for sequential scoring at once.

    Args:
        steps: see `Scoring`.
        delta: see `Scoring`.
        budget: see `Scoring`.

    Raises:
        ValueError: ``steps`` together with ``delta`` or ``budget``, or no draw in the budget.
    """
    if steps is not None and not (delta is None and budget is None):
        raise ValueError("give either a number of steps, or delta and budget, not both")
    if budget is not None and budget < 1:
        raise ValueError(f"a budget is at least one draw, not {budget}")


class Scorer:
    """Turns x0 into answers in one of two ways.

    With ``steps``, plainly: so many evenly spaced draws. Otherwise, with a calibrated model,
    sequentially; with one that is not, plainly with `DEFAULT_STEPS`.

    Args:
        model: what scores.
        steps: see `Scoring`.
        delta: see `Scoring`.
        budget: see `Scoring`.
        seed: see `Scoring`.

    Raises:
        ValueError: ``steps`` together with ``delta`` or ``budget``; a number out of range; a
            ``delta`` for which the model was not calibrated.
        RuntimeError: torch cannot compute in this process (see `emodc.support.forks`).
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
        before_computing()
        check_scoring(steps, delta, budget)
        self._model, self._budget, self._delta = model, budget, delta
        adaptive = model.decision.adaptive
        if steps is None and (adaptive is not None or delta is not None):
            adaptive = require_adaptive(model)
            wanted = max(DEFAULT_DELTA, adaptive.stops[0].delta) if delta is None else delta
            self._delta = adaptive.stop(wanted).delta
            steps = adaptive.steps
        elif steps is None:
            steps = min(DEFAULT_STEPS, budget or DEFAULT_STEPS)
        self._bank = model.draws(steps, seed)

    def errors(self, x0: Tensor) -> Tensor:
        """Return the errors under all the draws: (B, C, H, W) -> (B, K, S) float32."""
        return self._model.class_errors(x0, self._bank)

    def __call__(self, x0: Tensor) -> Answers:
        """Return the answers for the images (B, C, H, W) on the model's device.

        Raises:
            ValueError: the model answers NaN or infinity.
        """
        if self._delta is None:
            answers = plain_answers(self._model, self.errors(x0), self._bank.t)
        else:
            outcome = sequential_outcome(
                self._model, x0, self._bank, self._delta, budget=self._budget
            )
            answers = sequential_answers(self._model, outcome, self._delta)
        if not bool(answers.probabilities.isfinite().all()):
            raise ValueError(
                f"model '{self._model.name}' answers NaN or infinity: its weights diverged, or "
                f"precision {self._model.precision} is too coarse for it"
            )
        return answers
