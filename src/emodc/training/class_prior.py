"""What a recipe leaves of the class shares of its training labels in a model's errors."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.model.prior import ClassPrior, smoothed_shares
from emodc.training.recipe import Recipe


def class_prior(
    counts: NDArray[np.int64], frequency: Tensor, recipe: Recipe, scale: float
) -> ClassPrior:
    """Return the priors of a trained model; its answers have what training left.

    Where classes compete for each sample, the errors hold the shares in which classes were sampled.
    Where they do not (Base: ``d_p`` alone), or each is a negative as often as it is a positive
    (``negative_prior: frequency``), the errors compare likelihoods: the prior is uniform. It is
    what theory says of an objective at its optimum; `emodc calibrate` measures.

    Args:
        counts: (K,) training images of each class.
        frequency: (K,) float64, how often each class is a sample's true one
            (`emodc.training.batches.Sampler`).
        recipe: how it was trained; the objective of its last phase counts.
        scale: inverse temperature of its posterior.
    """
    objective = recipe.phases[-1].objective
    likelihoods = objective.kind == "base" or objective.negative_prior == "frequency"
    left = torch.ones_like(frequency) if likelihoods else frequency.clamp_min(1e-6)
    return ClassPrior(
        training=smoothed_shares(counts.tolist()),
        effective=tuple((left / left.sum()).tolist()),
        nats=scale,
    )
