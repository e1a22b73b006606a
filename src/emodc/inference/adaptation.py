"""Estimating how frequent the classes are among unlabeled photographs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emodc.method.label_shift import estimate_prior
from emodc.model.held_out import HeldOut
from emodc.model.identity import weights_hash
from emodc.model.model import Model
from emodc.model.prior import PRIOR_KEY

RESAMPLES = 200
_ADDED = 0.5  # face of each class: few photos rule no class out
_FEW = 100  # faces
_WIDE = 0.2  # of an interval of a share
_ILL = 0.1  # least singular value of the mean posteriors by class: 1 tells all classes apart


@dataclass(frozen=True)
class EstimatedPrior:
    """How frequent the classes are among unlabeled faces.

    Attributes:
        shares: by class name; they sum to 1.
        intervals: 95 % bootstrap intervals of the shares, over the images.
        images: N images.
        faces: in them.
        warnings: a line for each reason why the shares cannot be told well.
    """

    shares: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    images: int
    faces: int
    warnings: tuple[str, ...]

    def to_json(self, model: Model) -> dict[str, Any]:
        """Return what a file holds that `emodc.model.prior.read_prior` reads."""
        return {
            PRIOR_KEY: dict(self.shares),
            "ci95": {name: list(ends) for name, ends in self.intervals.items()},
            "method": "EM (Saerens et al. 2002), half a face of each class added",
            "images": self.images,
            "faces": self.faces,
            "warnings": list(self.warnings),
            "model": model.name,
            "weights_sha256": weights_hash(model),
        }


def require_prior(model: Model) -> Tensor:
    """Return the prior of a model's answers: (K',) float64, for the classes answered with.

    Raises:
        ValueError: it is not known.
    """
    prior = model.decision.prior
    if prior is None:
        raise ValueError(
            f"model '{model.name}' does not say on which class shares it was trained, so other "
            "shares cannot be told from its answers: run emodc calibrate on it"
        )
    answered = torch.tensor(prior.answered, dtype=torch.float64)[model.columns]
    return answered / answered.sum()


def adapt(
    model: Model, probabilities: Tensor, image: Sequence[int], resamples: int = RESAMPLES
) -> EstimatedPrior:
    """Estimate how frequent the classes are.

    The shares are those under which the answers are most likely
    (`emodc.method.label_shift.estimate_prior`). That takes it that a class looks as it does in the
    validation data; of photographs of another kind it is an approximation.

    Args:
        model: that answered.
        probabilities: (F, K') float64 of F faces.
        image: F numbers of the images that the faces are in: those of one image are resampled
            together.
        resamples: bootstrap samples of the images, drawn with a fixed seed.

    Raises:
        ValueError: there are no faces, or the model does not know its own prior.
    """
    prior = require_prior(model)
    if not len(probabilities):
        raise ValueError("no face was found: nothing tells how frequent the classes are")
    names = model.answers.classes
    shares = estimate_prior(probabilities, prior, added=_ADDED)
    _, of = np.unique(np.asarray(image), return_inverse=True)  # (F,) in 0..N-1
    images = int(of.max()) + 1
    rng, drawn = np.random.default_rng(0), []
    for _ in range(resamples):
        counts = np.bincount(rng.integers(0, images, images), minlength=images)[of]
        drawn.append(estimate_prior(probabilities, prior, torch.from_numpy(counts), _ADDED))
    low, high = torch.stack(drawn).quantile(torch.tensor([0.025, 0.975]).double(), dim=0)
    ends = list(zip(low.tolist(), high.tolist(), strict=True))
    intervals = dict(zip(names, ends, strict=True))
    return EstimatedPrior(
        shares=dict(zip(names, shares.tolist(), strict=True)),
        intervals=intervals,
        images=images,
        faces=len(probabilities),
        warnings=tuple(_warnings(model, len(probabilities), intervals)),
    )


def _warnings(model: Model, faces: int, intervals: Mapping[str, tuple[float, float]]) -> list[str]:
    told = []
    if faces < _FEW:
        told.append(f"{faces} faces are few: give at least {_FEW}")
    for name, (low, high) in intervals.items():
        if high - low > _WIDE:
            told.append(f"the share of {name} cannot be told: between {low:.2f} and {high:.2f}")
    if model.held_out is None:
        told.append(
            f"model '{model.name}' keeps no held-out images, so nothing shows how well it tells "
            "the classes apart: run emodc calibrate on it"
        )
    elif (weakest := _confused(model, model.held_out)) is not None:
        told.append(
            f"the model tells {' and '.join(weakest)} apart too badly on its validation images to "
            "say how frequent each is"
        )
    return told


def _confused(model: Model, held_out: HeldOut) -> tuple[str, str] | None:
    """Return the two classes whose mean posteriors differ too little, if there are any."""
    errors, labels = held_out.errors.float(), held_out.labels
    t = model.decision.timesteps(model.schedule.timesteps, errors.shape[2])
    p = model.decision.probabilities(errors, t, model.schedule.timesteps)  # (N, K')
    present = [k for k in model.columns.tolist() if bool((labels == k).any())]
    if len(present) < len(model.columns):
        return None  # intervals alone can say something
    means = torch.stack([p[labels == k].mean(dim=0) for k in present])  # (K', K')
    left, values, _ = torch.linalg.svd(means)
    if float(values[-1]) >= _ILL:
        return None
    first, second = left[:, -1].abs().topk(2).indices.sort().values.tolist()
    names = model.answers.classes
    return names[first], names[second]
