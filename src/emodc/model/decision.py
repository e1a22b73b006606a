"""How errors become an answer: what is fitted on validation data and stored with the weights.

The equations are those of `emodc.method.errors`; here they get their numbers. Scoring, calibration
and attacks all decide by what stands here.
"""

from collections.abc import Sequence

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator
from torch import Tensor

from emodc.method.draws import spaced_timesteps
from emodc.method.errors import class_logits, mean_errors
from emodc.method.sequential import Settled
from emodc.model.adaptive import MOST_BINS, Adaptive, Power, Scale, Stop, Thresholds
from emodc.model.prior import ClassPrior
from emodc.support.settings import Settings


class FewSteps(Settings):
    """The most informative timesteps, for a fixed number of draws.

    Attributes:
        t: ascending timesteps.
        scale: inverse temperature for the mean of their errors.
    """

    t: tuple[int, ...] = Field(min_length=1)
    scale: Scale


class NoiseFloor(Settings):
    """How clean images look to `emodc.method.noise_level`; beyond it, there is noise.

    Attributes:
        texture: diagonal detail of clean images.
        least: diagonal detail up to which an image counts as clean.
        gain: errors of an image with noise of level sigma count ``1 + gain sigma^2`` times, see
            `emodc.method.errors`; 0 for a decision that was fitted to clean images alone.
    """

    texture: float = Field(ge=0, lt=1)
    least: float = Field(ge=0, lt=1)
    gain: float = Field(default=0.0, ge=0)


class Decision(Settings):
    """How errors become an answer.

    Attributes:
        mirror: show the mirror image in every other draw.
        noise_floor: account for the noise that images carry; if None, all count as clean.
        span: the first timestep of the draws, and the one after the last; None: all of 0..T-1.
        scale: inverse temperature of the posterior.
        power: exponent of the gaps to the best class in the posterior.
        weights: weights of the timesteps, of mean 1, over equal bins of `span`; empty: all 1.
        adaptive: sequential scoring, once calibrated.
        few_steps: the best fixed choices of timesteps, by rising number, once calibrated.
        coverage: share of images whose true class is in the prediction set, once calibrated.
        least_probability: the prediction set holds the classes at least this probable.
        prior: what training left of the class shares, and the prior asked for; None: not known.
        classes: ids of the K' classes that are answered with, in rising order; empty: all.
    """

    mirror: bool = False
    noise_floor: NoiseFloor | None = None
    span: tuple[NonNegativeInt, NonNegativeInt] | None = None
    scale: Scale
    power: Power = 1.0
    weights: tuple[PositiveFloat, ...] = Field(default=(), max_length=10 * MOST_BINS)
    adaptive: Adaptive | None = None
    few_steps: tuple[FewSteps, ...] = ()
    coverage: float | None = Field(default=None, gt=0, lt=1)
    least_probability: Thresholds | None = None
    prior: ClassPrior | None = None
    classes: tuple[NonNegativeInt, ...] = Field(default=(), max_length=1000)

    @model_validator(mode="after")
    def _in_order(self) -> "Decision":
        if len(self.classes) == 1 or list(self.classes) != sorted(set(self.classes)):
            raise ValueError("classes must be two or more ids in rising order")
        if self.span is not None and self.span[0] >= self.span[1]:
            raise ValueError("span must be a timestep and a later one")
        return self

    def timesteps(self, timesteps: int, steps: int) -> Tensor:
        """Return the timesteps (S,) int64 of so many draws, ascending, of T; all within `span`."""
        return spaced_timesteps(timesteps, steps, self.span)

    def within(self, t: Tensor, timesteps: int) -> tuple[Tensor, int]:
        """Return timesteps counted from the start of `span`, and its length."""
        first, beyond = self.span or (0, timesteps)
        return t - first, beyond - first

    def among(self, classes: Sequence[int]) -> "Decision":
        """Return the decision that answers with some classes alone; `prior` keeps them all."""
        return self.model_copy(update={"classes": tuple(classes)})

    def columns(self, count: int) -> Tensor:
        """Return the ids of the classes answered with, of ``count``: (K',) int64."""
        return torch.tensor(self.classes or range(count))

    def handicap(self, count: int) -> Tensor:
        """Return what the prior adds to the mean errors of these classes: (K',) float64."""
        if self.prior is None:
            return torch.zeros(len(self.classes) or count, dtype=torch.float64)
        return self.prior.handicap()[self.columns(count)]

    def population(self) -> tuple[float, ...] | None:
        """Return the class shares for which the decision is to hold.

        None: those of the validation images, which stand for the training prior, as they come from
        the same source.
        """
        prior = self.prior
        if prior is None or prior.asked is None or prior.asked == prior.training:
            return None
        return prior.asked

    def thresholds(self, least: Thresholds, count: int) -> Tensor:
        """Return those of `columns` of one threshold for each class, or for all: (K',) float64."""
        return torch.tensor(least, dtype=torch.float64).expand(count)[self.columns(count)]

    def rule(self, stop: Stop, t: Tensor, timesteps: int, order: Tensor, count: int) -> Settled:
        """Return the rule of a stop of `adaptive`, for the classes of `columns`.

        Args:
            stop: which.
            t: (S,) int64, timesteps of the draws, in 0..T-1.
            timesteps: T.
            order: (S,) in which they are taken.
            count: K.

        Raises:
            ValueError: it cannot be computed with, or there is no `adaptive`.
        """
        if self.adaptive is None:
            raise ValueError("there are no stopping thresholds; calibrate the model")
        forecast = self.adaptive.forecast(*self.within(t, timesteps), order)
        return Settled(threshold=stop.threshold, forecast=forecast, handicap=self.handicap(count))

    def evidence(self, errors: Tensor, t: Tensor, timesteps: int) -> Tensor:
        """Return ``mean_s w_s d_c,s + (log e_c - log q_c) / nats``; the least is the answer.

        Args:
            errors: (B, K, S) of `emodc.model.model.Model.class_errors`.
            t: (S,) int64, timesteps of the draws, in 0..T-1.
            timesteps: T.

        Returns:
            (B, K') float64 for the classes of `columns`, with gradients to the errors.
        """
        weights = self.weights_at(t, timesteps).to(errors.device)
        return self._among(mean_errors(errors, weights))

    def logits(self, errors: Tensor, t: Tensor, timesteps: int) -> Tensor:
        """Return ``-scale`` times the `evidence`, of which the greatest is the answer.

        They order the classes as `probabilities` does. The power, which changes no order, is left
        out: its gradient is infinite at the leading class.

        Args:
            errors: as for `evidence`.
            t: as for `evidence`.
            timesteps: as for `evidence`.

        Returns:
            (B, K') float64, with gradients to the errors.
        """
        return -self.scale * self.evidence(errors, t, timesteps)

    def probabilities(self, errors: Tensor, t: Tensor, timesteps: int) -> Tensor:
        """Return ``p(c | x0)``, the softmax of `emodc.method.errors.class_logits`.

        Args:
            errors: as for `evidence`.
            t: as for `evidence`.
            timesteps: as for `evidence`.

        Returns:
            (B, K') float64, rows sum to 1.
        """
        weights = self.weights_at(t, timesteps).to(errors.device)
        return self.posterior(mean_errors(errors, weights))

    def posterior(self, means: Tensor) -> Tensor:
        """Return ``p(c | x0)`` from mean errors.

        Args:
            means: (B, K) ``D_c``, see `emodc.method.errors.mean_errors`.

        Returns:
            (B, K') float64, rows sum to 1.
        """
        return torch.softmax(class_logits(self._among(means), self.scale, self.power), dim=1)

    def _among(self, means: Tensor) -> Tensor:
        """Return the evidence (B, K') for the classes of `columns` from mean errors (B, K)."""
        chosen = means[:, list(self.classes)] if self.classes else means
        return chosen + self.handicap(means.shape[1]).to(means.device)

    def weights_at(self, t: Tensor, timesteps: int) -> Tensor:
        """Return the weights (S,) float64 of draws at the timesteps t (S,), of mean 1.

        Args:
            t: (S,) int64 in 0..T-1, and in `span`.
            timesteps: T.
        """
        bins = torch.tensor(self.weights or (1.0,), dtype=torch.float64, device=t.device)
        place, length = self.within(t, timesteps)
        weights = bins[place * len(bins) // length]
        return weights / weights.mean()
