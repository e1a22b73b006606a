"""What typical faces look like to the model itself: the reference for "this is not such a face".

Fitted on validation faces (`emodc.calibration.typicality`), and measured by
`emodc.inference.typicality`. Two statistics, for a face and the draws of a bank:

- the *profile*, ``log d_null`` at every draw. A blurred, noisy or strange image is predicted better
  or worse than faces are, at some noise levels. Its squared Mahalanobis distance from typical
  profiles is large.
- the *ratio*, the mean of ``log d_null(image turned upside down) - log d_null(image)``, with the
  noise turned along. The absolute error says more of how detailed an image is than of what it shows
  (Serrà et al., ICLR 2020); both images have the same detail, and only a model of faces finds the
  upright one easier. The ratio is small for what is no upright face.
"""

import torch
from pydantic import Field, model_validator
from torch import Tensor

from emodc.model.adaptive import Bounded
from emodc.support.settings import Settings

MOST_DRAWS, _MOST_FACES = 100, 10_000


class Typicality(Settings):
    """Statistics of typical faces.

    Attributes:
        steps: M, draws of (t, eps).
        center: (M,) mean profile.
        precision: (M, M) inverse covariance of the profiles.
        distances: of faces that fitted neither, ascending.
        ratios: of the same faces, ascending.
    """

    steps: int = Field(ge=1, le=MOST_DRAWS)
    center: tuple[Bounded, ...] = Field(max_length=MOST_DRAWS)
    precision: tuple[tuple[Bounded, ...], ...] = Field(max_length=MOST_DRAWS)
    distances: tuple[Bounded, ...] = Field(min_length=1, max_length=_MOST_FACES)
    ratios: tuple[Bounded, ...] = Field(min_length=1, max_length=_MOST_FACES)

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Typicality":
        rows = [self.center, *self.precision]
        if len(self.precision) != self.steps or any(len(row) != self.steps for row in rows):
            raise ValueError(f"center and precision must be of {self.steps} draws")
        if len(self.ratios) != len(self.distances):
            raise ValueError("distances and ratios must be of the same faces")
        for numbers in (self.distances, self.ratios):
            if list(numbers) != sorted(numbers):
                raise ValueError("distances and ratios must be ascending")
        return self

    def p_values(self, errors: Tensor) -> Tensor:
        """Return how typical faces are.

        Each statistic gives a conformal p-value: of typical faces, exchangeable with those of the
        reference, a share of at most p has one this small (Bates et al., "Testing for outliers with
        conformal p-values", Annals of Statistics 2023). The smaller one counts, twice (Bonferroni),
        so the same holds for what is returned.

        Args:
            errors: (B, 2, M) ``d_null`` of the images and of the images turned upside down.

        Returns:
            (B,) float64 in (0, 1].
        """
        distance, ratio = statistics(errors, torch.tensor(self.center), self._precision())
        known = torch.tensor(self.distances, dtype=torch.float64)
        beyond = len(known) - torch.searchsorted(known, distance)  # at least this far off
        below = torch.searchsorted(
            torch.tensor(self.ratios, dtype=torch.float64), ratio, right=True
        )  # at most this small
        p = (1 + torch.minimum(beyond, below)).double() / (1 + len(known))
        return (2 * p).clamp_max(1.0)

    def _precision(self) -> Tensor:
        return torch.tensor(self.precision, dtype=torch.float64)


def statistics(errors: Tensor, center: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two statistics.

    Args:
        errors: (B, 2, M), see `Typicality.p_values`.
        center: (M,), see `Typicality`.
        precision: (M, M), see `Typicality`.

    Returns:
        (B,) float64 distances, and (B,) float64 ratios.
    """
    upright, turned = errors.double().clamp_min(1e-30).log().unbind(dim=1)  # (B, M) each
    off = upright - center.double()
    distance = torch.einsum("bm,mn,bn->b", off, precision.double(), off)
    return distance, (turned - upright).mean(dim=1)
