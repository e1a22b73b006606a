"""The faces that wait in an image to be scored."""

from dataclasses import dataclass

from emodc.faces.arrays import Pixels
from emodc.faces.detector import FaceDetector, crop_face, whole_image_crop
from emodc.faces.sources import SourceImage, read_source, source_name, sources
from emodc.faces.warp import Matrix, face_to_crop, image_to_crop
from emodc.inference.prediction import Prediction
from emodc.model.model import Model


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face that waits to be scored; see `emodc.inference.prediction.Prediction`.

    Attributes:
        image: position of the image among those asked about.
        file: the image's path; None for one in memory.
        number: of the face in its image, from 0, largest first.
        crop: what the model is shown, at the codec's size.
        to_crop: from points of the image to points of the crop; see `emodc.faces.warp`.
        box: x0, y0, x1, y1 in pixels.
        landmarks: five (x, y) in pixels; None if no face was looked for.
        score: the detector's confidence; None likewise.
    """

    image: int
    file: str | None
    number: int
    crop: Pixels
    to_crop: Matrix
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...] | None = None
    score: float | None = None


Waiting = Prediction | FoundFace
"""A row, or what is yet to become one."""


def find_faces(
    index: int, file: str | None, image: Pixels, model: Model, detector: FaceDetector | None
) -> list[FoundFace]:
    """Return the faces in an image, largest first.

    Args:
        index: see `FoundFace.image`.
        file: see `FoundFace.file`.
        image: (H, W, 3) uint8 RGB.
        model: that will score them.
        detector: finds them; None if the image is a face crop.

    Raises:
        ValueError: the image is too large to be cropped.
    """
    # At the codec's own size, so that the pixels are resampled only once.
    size = model.settings.codec.size
    height, width = image.shape[:2]
    if detector is None:
        crop, to_crop = whole_image_crop(image, size), image_to_crop(height, width, size)
        return [FoundFace(index, file, 0, crop, to_crop, (0.0, 0.0, float(width), float(height)))]
    geometry = model.require_geometry()
    return [
        FoundFace(
            image=index,
            file=file,
            number=number,
            crop=crop_face(image, face, geometry, size),
            to_crop=face_to_crop(face, geometry, size),
            box=face.box,
            landmarks=tuple((float(x), float(y)) for x, y in face.landmarks),
            score=face.score,
        )
        for number, face in enumerate(detector.detect(image))
    ]


def one_face(
    image: SourceImage, number: int, model: Model, detector: FaceDetector | None
) -> tuple[Pixels, FoundFace]:
    """Return an image's pixels, (H, W, 3) RGB, and one of its faces.

    Args:
        image: one, of what `emodc.inference.classifier.EmotionClassifier.predict` takes.
        number: of the face, from 0, largest first.
        model: as for `find_faces`.
        detector: as for `find_faces`.

    Raises:
        ValueError: the image cannot be read, is several or has no such face.
    """
    found = list(sources(image))
    if len(found) != 1:
        raise ValueError(f"one image is explained at a time, not {len(found):,}")
    file, pixels = source_name(found[0]), read_source(found[0])
    faces = find_faces(0, file, pixels, model, detector)
    if not 0 <= number < len(faces):
        raise ValueError(_no_such_face(file or "image", number, len(faces)))
    return pixels, faces[number]


def _no_such_face(file: str, number: int, found: int) -> str:
    if found == 0:
        return (
            f"{file}: no face found; if it is a crop of a face, say so (--no-detect, in Python "
            "from_crops=True)"
        )
    known = "is one face, number 0" if found == 1 else f"are {found} faces, 0 to {found - 1}"
    return f"{file}: there is no face {number}; there {known}"
