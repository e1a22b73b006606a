"""Early stopping of scoring, as it was fitted: what a model's decision holds of it."""

import math
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field, PositiveFloat, model_validator
from torch import Tensor

from emodc.method.errors import class_logits
from emodc.method.forecast import Forecast, gap_covariance
from emodc.model.prior import Share
from emodc.support.settings import Settings

Scale = Annotated[float, Field(gt=0, le=1e12)]
"""An inverse temperature: far above any that is fitted, and no product with it overflows."""

Power = Annotated[float, Field(gt=0, le=10)]

Bounded = Annotated[float, Field(ge=-1e12, le=1e12)]


def _each(value: Any) -> Any:
    """Take one number for all classes, as models have it that were calibrated for one prior."""
    return (value,) if isinstance(value, int | float) else value


Thresholds = Annotated[
    tuple[Share, ...], BeforeValidator(_each), Field(min_length=1, max_length=1000)
]
"""The prediction set holds the classes at least this probable: one for each class, or for all."""

MOST_BINS = 1000
_MOST_STEPS = 2000  # the covariance of their gaps is a matrix


class Stop(Settings):
    """A stopping threshold of sequential scoring, and what goes with it.

    Attributes:
        delta: share of images whose answer may differ from that of all draws.
        threshold: standard errors by which the leader must be ahead.
        scale: inverse temperature for the gaps found so.
        power: see `emodc.model.decision.Decision`.
        least_probability: see `emodc.model.decision.Decision`.
    """

    delta: float = Field(gt=0, lt=1)
    threshold: PositiveFloat
    scale: Scale
    power: Power = 1.0
    least_probability: Thresholds

    def probabilities(self, gaps: Tensor) -> Tensor:
        """Return the posterior from the gaps that sequential scoring found.

        Args:
            gaps: (B, K) float64, see `emodc.method.sequential.Outcome`.

        Returns:
            (B, K) float64, rows sum to 1.
        """
        return torch.softmax(class_logits(gaps, self.scale, self.power), dim=1)


class Adaptive(Settings):
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
    covariance: tuple[tuple[Bounded, ...], ...] = Field(min_length=1, max_length=MOST_BINS)
    noise: tuple[PositiveFloat, ...] = Field(min_length=1, max_length=MOST_BINS)
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

    def forecast(self, t: Tensor, timesteps: int, order: Tensor) -> Forecast:
        """Return the forecast for draws at the timesteps t (S,), taken in this order (S,).

        Raises:
            ValueError: covariance and noise cannot be computed with.
        """
        between = torch.tensor(self.covariance, dtype=torch.float64)
        within = torch.tensor(self.noise, dtype=torch.float64)
        covariance = gap_covariance(between, within, t[order], timesteps)
        try:
            return Forecast(covariance)
        except RuntimeError as error:  # torch's LinAlgError: the numbers lie too far apart
            raise ValueError(
                "posterior.adaptive: covariance and noise cannot be used; calibrate the model anew"
            ) from error

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

    def nearest(self, threshold: float) -> Stop:
        """Return the stop whose threshold is nearest, by ratio."""
        return min(self.stops, key=lambda stop: abs(math.log(stop.threshold / threshold)))
