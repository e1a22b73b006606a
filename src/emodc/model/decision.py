"""How errors become an answer: what is fitted on validation data and stored with the weights.

The equations are those of `emodc.method.errors`; here they get their numbers. Scoring, calibration
and attacks all decide by what stands here.
"""

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator
from torch import Tensor

from emodc.method.errors import class_logits, mean_errors
from emodc.method.forecast import Forecast, gap_covariance
from emodc.method.sequential import Settled

Scale = Annotated[float, Field(gt=0, le=1e12)]
"""An inverse temperature: far above any that is fitted, and no product with it overflows."""

Power = Annotated[float, Field(gt=0, le=10)]

Bounded = Annotated[float, Field(ge=-1e12, le=1e12)]

_MOST_BINS = 1000
_MOST_STEPS = 2000  # the covariance of their gaps is a matrix


class _Fitted(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Stop(_Fitted):
    """A stopping threshold of sequential scoring, and what goes with it.

    Attributes:
        delta: share of images whose answer may differ from that of all draws.
        threshold: standard errors by which the leader must be ahead.
        scale: inverse temperature for the gaps found so.
        power: see `Decision`.
        least_probability: see `Decision`.
    """

    delta: float = Field(gt=0, lt=1)
    threshold: PositiveFloat
    scale: Scale
    power: Power = 1.0
    least_probability: float = Field(ge=0, le=1)

    def probabilities(self, gaps: Tensor) -> Tensor:
        """Return the posterior from the gaps that sequential scoring found.

        Args:
            gaps: (B, K) float64, see `emodc.method.sequential.Outcome`.

        Returns:
            (B, K) float64, rows sum to 1.
        """
        return torch.softmax(class_logits(gaps, self.scale, self.power), dim=1)


class Adaptive(_Fitted):
    """Sequential scoring (`emodc.method.sequential`), as it was fitted.

    Attributes:
        steps: S, whose answer is aimed at.
        block: draws in a block.
        covariance, noise: of the gap of two close classes, over equal bins of 0..T-1; see
            `emodc.method.forecast.gap_covariance`.
        confidence: with which each ``delta`` holds.
        stops: by rising ``delta``.
    """

    steps: int = Field(ge=1, le=_MOST_STEPS)
    block: int = Field(ge=1, le=_MOST_STEPS)
    covariance: tuple[tuple[Bounded, ...], ...] = Field(min_length=1, max_length=_MOST_BINS)
    noise: tuple[PositiveFloat, ...] = Field(min_length=1, max_length=_MOST_BINS)
    confidence: float = Field(gt=0, lt=1)
    stops: tuple[Stop, ...] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _bins_agree(self) -> "Adaptive":
        bins = len(self.noise)
        if len(self.covariance) != bins or any(len(row) != bins for row in self.covariance):
            raise ValueError(f"covariance must be {bins} x {bins}, as noise has {bins} bins")
        matrix = torch.tensor(self.covariance, dtype=torch.float64)
        close = 1e-6 * float(matrix.abs().max())
        lowest = float(torch.linalg.eigvalsh(matrix).min())
        if not torch.allclose(matrix, matrix.T, rtol=0, atol=close) or lowest < -close:
            raise ValueError("covariance must be symmetric and positive semidefinite")
        deltas = [stop.delta for stop in self.stops]
        if deltas != sorted(deltas):
            raise ValueError("stops must be in the order of their delta")
        return self

    def rule(self, stop: Stop, t: Tensor, timesteps: int, order: Tensor) -> Settled:
        """Return the rule of a stop for draws at the timesteps t (S,), taken in this order (S,).

        Raises:
            ValueError: covariance and noise cannot be computed with.
        """
        between = torch.tensor(self.covariance, dtype=torch.float64)
        within = torch.tensor(self.noise, dtype=torch.float64)
        covariance = gap_covariance(between, within, t[order], timesteps)
        try:
            forecast = Forecast(covariance)
        except RuntimeError as error:  # torch's LinAlgError: the numbers lie too far apart
            raise ValueError(
                "posterior.adaptive: covariance and noise cannot be used; calibrate the model anew"
            ) from error
        return Settled(threshold=stop.threshold, forecast=forecast)

    def stop(self, delta: float) -> Stop:
        """Return the boldest stop that promises at most ``delta``.

        Raises:
            ValueError: none does.
        """
        kept = [stop for stop in self.stops if stop.delta <= delta]
        if not kept:
            raise ValueError(
                f"no stopping threshold for delta {delta:g}: the least that was certified is "
                f"{self.stops[0].delta:g}; calibrate with more images"
            )
        return kept[-1]


class FewSteps(_Fitted):
    """The most informative timesteps, for a fixed number of draws.

    Attributes:
        t: ascending timesteps.
        scale: inverse temperature for the mean of their errors.
    """

    t: tuple[int, ...] = Field(min_length=1)
    scale: Scale


class NoiseFloor(_Fitted):
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


class Decision(_Fitted):
    """How errors become an answer.

    Attributes:
        mirror: show the mirror image in every other draw.
        noise_floor: account for the noise that images carry; if None, all count as clean.
        scale: inverse temperature of the posterior.
        power: exponent of the gaps to the best class in the posterior.
        weights: weights of the timesteps, of mean 1, over equal bins of 0..T-1; empty: all 1.
        adaptive: sequential scoring, once calibrated.
        few_steps: the best fixed choices of timesteps, by rising number, once calibrated.
        coverage: share of images whose true class is in the prediction set, once calibrated.
        least_probability: the prediction set holds the classes at least this probable.
    """

    mirror: bool = False
    noise_floor: NoiseFloor | None = None
    scale: Scale
    power: Power = 1.0
    weights: tuple[PositiveFloat, ...] = Field(default=(), max_length=10 * _MOST_BINS)
    adaptive: Adaptive | None = None
    few_steps: tuple[FewSteps, ...] = ()
    coverage: float | None = Field(default=None, gt=0, lt=1)
    least_probability: float | None = Field(default=None, ge=0, le=1)

    def logits(self, errors: Tensor, t: Tensor, timesteps: int) -> Tensor:
        """Return ``-scale * mean_s w_s d_c,s``, of which the greatest is the answer.

        They order the classes as `probabilities` does. The power, which changes no order, is left
        out: its gradient is infinite at the leading class.

        Args:
            errors: (B, K, S) of `emodc.model.model.Model.class_errors`.
            t: (S,) int64, timesteps of the draws, in 0..T-1.
            timesteps: T.

        Returns:
            (B, K) float64, with gradients to the errors.
        """
        weights = self.weights_at(t, timesteps).to(errors.device)
        return -self.scale * mean_errors(errors, weights)

    def probabilities(self, errors: Tensor, t: Tensor, timesteps: int) -> Tensor:
        """Return ``p(c | x0)``; see `emodc.method.errors.posterior`.

        Args:
            errors: as for `logits`.
            t: as for `logits`.
            timesteps: as for `logits`.

        Returns:
            (B, K) float64, rows sum to 1.
        """
        weights = self.weights_at(t, timesteps).to(errors.device)
        return self.posterior(mean_errors(errors, weights))

    def posterior(self, means: Tensor) -> Tensor:
        """Return ``p(c | x0)`` from mean errors.

        Args:
            means: (B, K) ``D_c``, see `emodc.method.errors.mean_errors`.

        Returns:
            (B, K) float64, rows sum to 1.
        """
        return torch.softmax(class_logits(means, self.scale, self.power), dim=1)

    def weights_at(self, t: Tensor, timesteps: int) -> Tensor:
        """Return the weights (S,) float64 of draws at the timesteps t (S,), of mean 1.

        Args:
            t: (S,) int64 in 0..T-1.
            timesteps: T.
        """
        bins = torch.tensor(self.weights or (1.0,), dtype=torch.float64, device=t.device)
        weights = bins[t * len(bins) // timesteps]
        return weights / weights.mean()
