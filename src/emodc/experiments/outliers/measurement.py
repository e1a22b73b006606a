"""Scores of typical faces and of what is no such face, by several models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.backbones.base import Classifier
from emodc.data.face_data import FaceData
from emodc.evaluation.face_sample import choose_sample
from emodc.experiments.outliers.kinds import Crop
from emodc.inference.scorer import Scorer
from emodc.inference.typicality import typicality
from emodc.model.model import Model
from emodc.support.timing import Progress, unheard

SCORES = ("typicality", "softmax", "energy")
"""The p-value of `emodc.inference.typicality`; the largest probability (Hendrycks and Gimpel, ICLR
2017); and the log-sum-exp of a discriminative network's logits (Liu et al., NeurIPS 2020)."""

_AT_ONCE = 32
_RESAMPLES = 1000
_KEPT = 0.95  # share of typical faces that are kept, where the rate of false positives is stated


@dataclass(frozen=True)
class Separation:
    """How well a score tells typical faces from something else.

    Attributes:
        auroc: probability that a typical face scores higher than the other, half of ties.
        auroc_ci95: bootstrap interval over the images.
        fpr95: share of the others that are kept where 95 % of the typical faces are.
    """

    auroc: float
    auroc_ci95: tuple[float, float]
    fpr95: float


class Outliers:
    """Models, each with the scores that it has, on typical faces and on others.

    Args:
        models: by the name that the report uses.
        data: typical faces; none of them trained or calibrated a model.
        limit: take a stratified subset of this many.
        seed: of the choice of faces.
        steps: draws for the largest probability.

    Attributes:
        sample: the typical faces.

    Raises:
        ValueError: no readable face, or no two classes in common.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        data: FaceData,
        *,
        limit: int | None = None,
        seed: int = 0,
        steps: int = 10,
    ) -> None:
        self.models, self.steps, self.seed = dict(models), steps, seed
        self.sample = choose_sample(data, [model.answers for model in models.values()], limit, seed)

    def crops(self) -> list[Crop]:
        """Return the typical faces."""
        return [self.sample.data.image(row) for row in range(len(self.sample.labels))]

    def run(
        self, others: Mapping[str, Sequence[Crop]], progress: Progress = unheard
    ) -> dict[str, dict[str, dict[str, Separation]]]:
        """Score everything.

        Args:
            others: images of each kind of what is no such face.
            progress: is told how many images are scored, of how many.

        Returns:
            By model, by score, by kind.
        """
        shown = {"": self.crops(), **others}
        done, total = 0, len(self.models) * sum(map(len, shown.values()))
        found: dict[str, dict[str, dict[str, Separation]]] = {}
        for name, model in self.models.items():
            scores: dict[str, dict[str, Tensor]] = {}
            for kind, crops in shown.items():
                progress(done, total, f"{name}: {kind or 'typical faces'}")
                for score, values in self._scores(model, crops).items():
                    scores.setdefault(score, {})[kind] = values
                done += len(crops)
            found[name] = {
                score: {
                    kind: separation(by_kind[""], values)
                    for kind, values in by_kind.items()
                    if kind
                }
                for score, by_kind in scores.items()
            }
        progress(total, total, "")
        return found

    @torch.inference_mode()
    def _scores(self, model: Model, crops: Sequence[Crop]) -> dict[str, Tensor]:
        """Return the scores that a model has, (N,) float64 each; higher is more typical."""
        scorer = Scorer(model, steps=self.steps, seed=self.seed)
        parts: dict[str, list[Tensor]] = {}
        for start in range(0, len(crops), _AT_ONCE):
            x0 = model.settings.codec.encode(crops[start : start + _AT_ONCE], model.device)
            found = {"softmax": scorer(x0).probabilities.max(dim=1).values}
            if model.typicality is not None:
                found["typicality"] = typicality(model, x0)
            if isinstance(model.backbone, Classifier) and not model.sees_noise:
                logits = model.backbone(x0, x0, torch.zeros(len(x0), dtype=torch.int64))
                found["energy"] = torch.logsumexp(logits.double(), dim=1)
            for name, values in found.items():
                parts.setdefault(name, []).append(values.cpu())
        return {name: torch.cat(parts[name]) for name in SCORES if name in parts}


def separation(typical: Tensor, other: Tensor, seed: int = 0) -> Separation:
    """Return how well a score separates typical faces from others.

    Args:
        typical: (N,) scores, higher is more typical.
        other: (M,) scores.
        seed: of the bootstrap.
    """
    a, b = np.sort(typical.double().numpy()), np.sort(other.double().numpy())
    rng = np.random.default_rng(seed)
    resampled = [
        _auroc(np.sort(rng.choice(a, len(a))), np.sort(rng.choice(b, len(b))))
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    threshold = a[int(np.floor((1 - _KEPT) * len(a)))]  # at least 95 % lie at it or above
    return Separation(_auroc(a, b), (float(low), float(high)), float((b >= threshold).mean()))


def _auroc(typical: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the area under the curve from sorted scores."""
    below = np.searchsorted(other, typical, side="left")
    ties = np.searchsorted(other, typical, side="right") - below
    return float((below + 0.5 * ties).mean() / len(other))
