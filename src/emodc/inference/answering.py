"""From images to rows: faces are scored some at a time, atypical ones are rejected if asked."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from emodc.faces.detector import FaceDetector
from emodc.faces.sources import Source
from emodc.inference.face_crops import FaceCrop, answered, face_crops, rejected
from emodc.inference.prediction import Prediction
from emodc.inference.scorer import Scorer
from emodc.inference.typicality import typicality
from emodc.model.model import Model

_BATCH = 16  # rows scored together: enough to fill the network's calls, little to hold in memory


def answer_rows(
    model: Model,
    images: Iterable[Source],
    scorer: Scorer,
    detector: FaceDetector | None,
    reject: float | None,
) -> Iterator[Prediction]:
    """Yield the rows of images, in order; few images are held in memory at a time.

    Args:
        model: what the crops are for.
        images: read as their turn comes.
        scorer: answers.
        detector: finds the faces; None for images that are crops.
        reject: see `emodc.inference.classifier.EmotionClassifier.predict`.
    """
    waiting: list[Prediction | FaceCrop] = []
    for index, source in enumerate(images):
        waiting += face_crops(model, detector, index, source)
        if len(waiting) >= _BATCH:
            yield from _scored(model, waiting, scorer, reject)
            waiting = []
    yield from _scored(model, waiting, scorer, reject)


def _scored(
    model: Model,
    rows: Sequence[Prediction | FaceCrop],
    scorer: Scorer,
    reject: float | None,
) -> Iterator[Prediction]:
    faces = [row for row in rows if isinstance(row, FaceCrop)]
    found = iter(_answered(model, faces, scorer, reject))
    yield from (next(found) if isinstance(row, FaceCrop) else row for row in rows)


def _answered(
    model: Model, faces: Sequence[FaceCrop], scorer: Scorer, reject: float | None
) -> list[Prediction]:
    if not faces:
        return []
    x0 = model.settings.codec.encode([face.crop for face in faces], model.device)
    if reject is None:
        p, kept = None, torch.ones(len(faces), dtype=torch.bool)
    else:
        p = typicality(model, x0)  # (B,)
        kept = p >= reject
    answers = scorer(x0[kept.to(x0.device)]) if bool(kept.any()) else None
    place = (kept.cumsum(0) - 1).tolist()  # of a face among the answers

    def row(number: int, face: FaceCrop) -> Prediction:
        if answers is None or not kept[number]:
            found = rejected(face)
        else:
            found = answered(face, model.answers.classes, answers, place[number])
        return found if p is None else replace(found, typicality=float(p[number]))

    return [row(number, face) for number, face in enumerate(faces)]
