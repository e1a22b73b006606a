"""From an image to the crops of its faces, or to the row that says why it has none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from emodc.faces.arrays import Pixels
from emodc.faces.detector import FaceDetector, crop_face, whole_image_crop
from emodc.faces.sources import Source, read_source, source_name
from emodc.inference.prediction import Prediction
from emodc.inference.scorer import Answers
from emodc.model.model import Model


@dataclass(frozen=True)
class FaceCrop:
    """A face that waits to be scored; see `Prediction` for what it says of it."""

    image: int
    file: str | None
    number: int
    crop: Pixels
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...] | None = None
    score: float | None = None


def face_crops(
    model: Model, detector: FaceDetector | None, index: int, source: Source
) -> list[Prediction | FaceCrop]:
    """Return the faces of an image, largest first, or the row that says why it has none.

    Args:
        model: what the crops are for.
        detector: finds the faces; None for an image that is a crop.
        index: number of the image.
        source: the image.
    """
    file = source_name(source)
    # At the codec's own size, so that the pixels are resampled only once.
    size = model.settings.codec.size
    try:
        image = read_source(source)
        if detector is None:
            height, width = map(float, image.shape[:2])
            crop = whole_image_crop(image, size)
            return [FaceCrop(index, file, 0, crop, (0.0, 0.0, width, height))]
        faces = detector.detect(image)
        geometry = model.require_geometry()
        crops = [crop_face(image, face, geometry, size) for face in faces]
    except ValueError as error:
        return [Prediction(index, file, "unreadable", str(error))]
    except MemoryError:
        reason = f"{file or 'image'}: takes more memory than there is; make a smaller copy"
        return [Prediction(index, file, "unreadable", reason)]
    if not faces:
        return [Prediction(index, file, "no_face", "no face found")]
    return [
        FaceCrop(
            image=index,
            file=file,
            number=number,
            crop=crop,
            box=face.box,
            landmarks=tuple((float(x), float(y)) for x, y in face.landmarks),
            score=face.score,
        )
        for number, (face, crop) in enumerate(zip(faces, crops, strict=True))
    ]


def answered(face: FaceCrop, classes: Sequence[str], answers: Answers, number: int) -> Prediction:
    """Return the row of a face.

    Args:
        face: what was scored.
        classes: in label order.
        answers: of several faces.
        number: of this one among them.
    """
    p = dict(zip(classes, answers.probabilities[number].tolist(), strict=True))
    least = None if answers.thresholds is None else answers.thresholds.tolist()
    gap_error = float(answers.gap_error[number])
    return Prediction(
        image=face.image,
        file=face.file,
        status="ok",
        face=face.number,
        box=face.box,
        landmarks=face.landmarks,
        detection_score=face.score,
        label=max(p, key=p.__getitem__),
        probabilities=p,
        prediction_set=None
        if least is None
        else tuple(k for k, needed in zip(p, least, strict=True) if p[k] >= needed),
        trunk_passes=int(answers.draws[number]),
        prompt_evaluations=int(answers.evaluations[number]),
        gap_standard_error=None if math.isnan(gap_error) else gap_error,
    )


def rejected(face: FaceCrop) -> Prediction:
    """Return the row of a face that is unlike those that the model knows."""
    return Prediction(
        image=face.image,
        file=face.file,
        status="atypical",
        error="unlike the faces that the model knows",
        face=face.number,
        box=face.box,
        landmarks=face.landmarks,
        detection_score=face.score,
    )


def nothing_to_tell(row: Prediction, what: str) -> ValueError:
    """Return the refusal of an image that has no face, where a row cannot say so.

    Args:
        row: of the image.
        what: a face would have.
    """
    name = f"image {row.image}" if row.file is None else row.file
    return ValueError(
        f"{name}: {row.error}: it has no {what}; leave it out, or call predict, whose rows say "
        "what is wrong with an image"
    )
