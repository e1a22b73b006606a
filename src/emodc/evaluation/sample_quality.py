"""How good the faces are that a model generates: judged by a second, independent classifier.

Two questions. Does a face show the expression that was asked for? The judge reads it. Do the faces
look real? Their Fréchet distance (`emodc.evaluation.frechet`) to real ones, in the judge's
features, beside that of equally many real training faces, the floor.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.data.face_data import FaceData
from emodc.data.subset import stratified_subset
from emodc.evaluation.face_sample import match_classes
from emodc.evaluation.frechet import frechet_distance, moments
from emodc.evaluation.metrics import accuracy_interval
from emodc.explain.generate import generate
from emodc.inference.scorer import Scorer
from emodc.labels import canonical_name
from emodc.model.identity import weights_hash
from emodc.model.model import Model
from emodc.reports.sample_quality import SampleQuality
from emodc.support.timing import Progress, unheard

_AT_ONCE = 128  # images that the judge sees together: bounds memory


def sample_quality(
    model: Model,
    judge: Model,
    real: FaceData,
    training: FaceData,
    per_class: int,
    *,
    steps: int,
    guidance: float = 1.0,
    sampler: str = "ddim",
    seed: int = 0,
    progress: Progress = unheard,
) -> SampleQuality:
    """Generate faces of every class, and let a judge read them.

    Args:
        model: generates them.
        judge: a classifier that was trained apart from the model.
        real: faces to compare with, of a split that trained neither.
        training: faces of the same dataset, for the floor.
        per_class: faces to generate of each class.
        steps: see `emodc.explain.generate.generate`.
        guidance: likewise.
        sampler: likewise.
        seed: likewise.
        progress: likewise.

    Raises:
        ValueError: as `emodc.explain.generate.generate`; the judge has no features; the model has
            a class that judge or data lack; or there are too few faces.
    """
    columns = _columns(judge, model)
    shares_of_classes = _class_counts(real, model)
    x0 = generate(
        model,
        range(len(model.label_set)),
        per_class,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        seed=seed,
        progress=progress,
    ).flatten(0, 1)  # (K * N, C, H, W)
    crops = list(model.settings.codec.decode(x0))
    classes = len(model.label_set)
    asked = torch.arange(classes).repeat_interleave(per_class)  # (K * N,)
    read = _probabilities(judge, crops)[:, columns].argmax(dim=1)  # (K * N,)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    confusion.index_put_((asked, read), torch.ones_like(asked), accumulate=True)
    right = confusion.diagonal()
    names = model.label_set.classes
    shares = {name: int(n) / per_class for name, n in zip(names, right, strict=True)}
    weights = shares_of_classes.repeat_interleave(per_class)  # (K * N,)
    effective = round(float(weights.sum().square() / weights.square().sum()))
    floor = training.subset(stratified_subset(training.labels, effective, seed))
    reference = moments(_features(judge, list(real.readable())))
    distance, floor_distance = (
        frechet_distance(found, reference)
        for found in (
            moments(_features(judge, crops), weights),
            moments(_features(judge, list(floor.readable()))),
        )
    )
    return SampleQuality(
        model=model.name,
        weights_sha256=weights_hash(model),
        judge=judge.name,
        data=real.name,
        images=len(real),
        per_class=per_class,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        seed=seed,
        read_as_asked=shares,
        read_as_asked_ci95={
            name: list(accuracy_interval(int(n), per_class))
            for name, n in zip(names, right, strict=True)
        },
        mean_read_as_asked=sum(shares.values()) / classes,
        confusion=confusion.tolist(),
        frechet=distance,
        frechet_floor=floor_distance,
    )


def _columns(judge: Model, model: Model) -> Tensor:
    """Return where the judge has the model's classes (K,)."""
    matched = match_classes(judge.answers, model.label_set)
    for name, place in zip(model.label_set.classes, matched.label.tolist(), strict=True):
        if place < 0:
            raise ValueError(f"'{judge.name}' cannot judge '{model.name}': it knows no {name}")
    return matched.columns[torch.from_numpy(matched.label)]


def _class_counts(data: FaceData, model: Model) -> Tensor:
    """Return how many faces the data have of each class of the model (K,) float64."""
    counts = dict(
        zip(map(canonical_name, data.label_set.classes), data.class_counts(), strict=True)
    )
    found = [int(counts.get(canonical_name(name), 0)) for name in model.label_set.classes]
    if sum(found) == 0:
        raise ValueError(f"{data.name} has no faces of the classes of '{model.name}'")
    return torch.tensor(found, dtype=torch.float64)


@torch.inference_mode()
def _probabilities(judge: Model, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return what the judge reads in crops (N, K')."""
    scorer = Scorer(judge)
    return torch.cat([scorer(shown).probabilities.cpu() for shown in _encoded(judge, crops)])


@torch.inference_mode()
def _features(judge: Model, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return the judge's features of crops (N, E)."""
    return torch.cat([judge.embed(shown).cpu() for shown in _encoded(judge, crops)])


def _encoded(judge: Model, crops: Sequence[NDArray[np.uint8]]) -> Iterator[Tensor]:
    for start in range(0, len(crops), _AT_ONCE):
        yield judge.settings.codec.encode(crops[start : start + _AT_ONCE], judge.device)
