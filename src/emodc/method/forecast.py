"""Forecasting what all S draws would say from the few that were taken.

The gap between two classes is much larger at little noise than at much, and an image's gaps at
different timesteps go together, so draws at some timesteps predict those not taken yet. Over
draws the gap of two close classes is modeled as multivariate t with mean 0: a covariance shared by
all images, fitted on validation data (`emodc.calibration.posterior.fit_gap_model`), times a scale
of the image's own. Given n gaps, the mean of all S then has a known distribution (t again), whose
center is the forecast; at n = S it is the plain mean.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

FREEDOM = 4.0
"""Degrees of freedom: how many draws the usual scale counts for beside an image's own."""


@dataclass(frozen=True)
class Forecast:
    """Forecasts of the mean over S draws.

    Attributes:
        covariance: (S, S) float64, of the gap between draws, in the order in which they are taken.
    """

    covariance: Tensor

    def means(self, errors: Tensor) -> Tensor:
        """Return the forecast of every class's mean error, up to what all classes share.

        It is linear in the errors, so differences between classes are forecasts of their gaps.

        Args:
            errors: (A, K, n) float64, of the first n of the S draws.

        Returns:
            (A, K) float64.
        """
        return errors @ self._coefficients(errors.shape[2])

    def gap_errors(self, gaps: Tensor) -> Tensor:
        """Return the standard error of forecast gaps.

        Args:
            gaps: (A, K, n) float64, gaps over the first n draws.

        Returns:
            (A, K) float64, 0 at n = S.
        """
        n, draws = gaps.shape[2], len(self.covariance)
        taken, rest = self.covariance[:n, :n], self.covariance[n:, n:]
        ahead = self.covariance[n:, :n].sum(dim=0)  # (n,), with the sum of the draws not taken
        unknown = rest.sum() - ahead @ torch.linalg.solve(taken, ahead)
        whitened = torch.linalg.solve_triangular(
            torch.linalg.cholesky(taken), gaps.flatten(0, 1).T, upper=False
        )
        squares = whitened.square().sum(dim=0).view(gaps.shape[:2])  # (A, K)
        scale = (squares + FREEDOM) / (n + FREEDOM)
        errors: Tensor = (scale * unknown.clamp_min(0)).sqrt() / draws
        return errors

    def _coefficients(self, n: int) -> Tensor:
        """Return (n,): the forecast is 1/S of each draw taken and of its share in the rest."""
        ahead = self.covariance[n:, :n].sum(dim=0)
        shares: Tensor = torch.linalg.solve(self.covariance[:n, :n], ahead)
        return (1 + shares) / len(self.covariance)


def gap_covariance(between: Tensor, within: Tensor, t: Tensor, timesteps: int) -> Tensor:
    """Return the covariance of draws at given timesteps.

    Args:
        between: (bins, bins) float64, covariance of gaps at timesteps of two equal bins of 0..T-1.
        within: (bins,) float64, additional variance of a single draw.
        t: (S,) int64.
        timesteps: T.

    Returns:
        (S, S) float64.
    """
    of = t * len(within) // timesteps  # (S,) the bin of each draw
    return between[of][:, of] + torch.diag(within[of])
