"""Fitting what typical faces look like to a model; see `emodc.model.typicality`."""

from pathlib import Path

import torch
from torch import Tensor

from emodc.data.face_data import FaceData
from emodc.data.subset import stratified_subset
from emodc.inference.dataset_scores import score_images
from emodc.inference.typicality import null_errors
from emodc.model.model import Model
from emodc.model.typicality import Typicality, statistics
from emodc.support.distributed import ALONE, World
from emodc.support.timing import Progress, unheard

DRAWS = 8
"""M: more draws hardly tell more (docs/guarantees.md)."""

_FACES = 1000  # at most: the least p-value is then 1 / 250
_RIDGE = 0.01  # of the variance, so that covariances of few faces can be inverted
_DIGITS = 6  # of what is kept


def fit_typicality(
    model: Model,
    data: FaceData,
    *,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress = unheard,
    world: World = ALONE,
) -> Typicality:
    """Measure validation faces: half of them fit the profile, the others give the p-values.

    Args:
        model: a diffusion model.
        data: faces that it was not trained on.
        seed: of the choice of faces.
        folder: where measured errors are kept.
        progress: is told how far it is.
        world: the processes that share the measuring.

    Raises:
        ValueError: fewer than four images can be read, or ``folder`` holds other errors.
        OSError: ``folder`` cannot be written.
    """
    data = data.subset(stratified_subset(data.labels, _FACES, seed))
    scores = score_images(
        model,
        data,
        lambda x0: {"errors": null_errors(model, x0, DRAWS)},
        {"typicality's draws": DRAWS},
        folder=None if folder is None else folder / "typicality",
        progress=progress,
        world=world,
    )
    return reference(scores.values["errors"])


def reference(errors: Tensor) -> Typicality:
    """Return the statistics of typical faces.

    Args:
        errors: (N, 2, M) of `emodc.inference.typicality.null_errors`, N at least 4.

    Raises:
        ValueError: N is less.
    """
    if len(errors) < 4:
        raise ValueError(f"what is typical takes at least 4 faces, not {len(errors)}")
    fit, hold = errors[::2], errors[1::2]
    profiles = fit[:, 0].double().clamp_min(1e-30).log()  # (N/2, M)
    covariance = torch.cov(profiles.T).view(errors.shape[2], -1)
    variance = covariance.diag().clamp_min(1e-12)
    center = _rounded(profiles.mean(dim=0))
    precision = _rounded(torch.linalg.inv(covariance + _RIDGE * variance.diag()))
    distance, ratio = statistics(hold, torch.tensor(center), torch.tensor(precision))
    return Typicality(
        steps=errors.shape[2],
        center=center,
        precision=precision,
        distances=tuple(sorted(_rounded(distance))),
        ratios=tuple(sorted(_rounded(ratio))),
    )


def _rounded(values: Tensor) -> tuple:  # type: ignore[type-arg]
    """Return the numbers of a vector or matrix with `_DIGITS` significant digits."""
    if values.ndim > 1:
        return tuple(_rounded(row) for row in values)
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
