"""Fréchet distance between two sets of features, and from it how real generated faces look."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features.

    Attributes:
        mean: (E,) float64.
        covariance: (E, E) float64.
    """

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor, weights: Tensor | None = None) -> Moments:
    """Return the moments of some images' features.

    Args:
        features: (N, E).
        weights: (N,) how much each image counts, of any positive sum; equally if not given.

    Raises:
        ValueError: there are fewer than two images.
    """
    if len(features) < 2:
        raise ValueError(f"a covariance takes at least two images, not {len(features)}")
    x = features.double()
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
    w = w / w.sum()
    mean = w @ x
    centered = (x - mean) * w.sqrt().unsqueeze(1)
    unbiased = 1 - float(w.square().sum())  # (N - 1) / N for equal weights
    return Moments(mean, centered.T @ centered / unbiased)


def frechet_distance(ours: Moments, theirs: Moments) -> float:
    """Return ``|mu - mu'|^2 + tr(S + S' - 2 (S S')^(1/2))``.

    The squared Fréchet distance of two normal distributions (Heusel et al., NeurIPS 2017,
    equation 6; there on the features of an Inception network). It shrinks as images are added: only
    distances of equally many images can be compared.

    Args:
        ours: of features of width E.
        theirs: likewise.
    """
    apart = (ours.mean - theirs.mean).square().sum()
    # S S' has the eigenvalues of the symmetric S^(1/2) S' S^(1/2).
    root = _square_root(ours.covariance)
    between = torch.linalg.eigvalsh(root @ theirs.covariance @ root).clamp_min(0).sqrt().sum()
    spread = ours.covariance.trace() + theirs.covariance.trace() - 2 * between
    return max(0.0, float(apart + spread))


def _square_root(matrix: Tensor) -> Tensor:
    """Return the root of a symmetric positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root
