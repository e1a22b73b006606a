"""One face of an image, to be explained."""

from typing import NamedTuple

from emodc.faces.arrays import Pixels
from emodc.faces.detector import FaceDetector, crop_face, whole_image_crop
from emodc.faces.sources import SourceImage, read_source, source_name, sources
from emodc.faces.warp import Matrix, face_to_crop, image_to_crop
from emodc.model.model import Model


class ChosenFace(NamedTuple):
    """A face, and where it lies in its image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        file: the image's path; None for one in memory.
        crop: what the model is shown, at the codec's size.
        to_crop: from points of the image to points of the crop; see `emodc.faces.warp`.
        box: x0, y0, x1, y1 in pixels.
    """

    image: Pixels
    file: str | None
    crop: Pixels
    to_crop: Matrix
    box: tuple[float, float, float, float]


def chosen_face(
    image: SourceImage, number: int, model: Model, detector: FaceDetector | None
) -> ChosenFace:
    """Return a face of an image.

    Args:
        image: one, of what `emodc.inference.classifier.EmotionClassifier.predict` takes.
        number: of the face, from 0, largest first.
        model: what it is for.
        detector: finds the faces; None for an image that is a crop.

    Raises:
        ValueError: the image cannot be read, is several or has no such face.
    """
    found = list(sources(image))
    if len(found) != 1:
        raise ValueError(f"one image is explained at a time, not {len(found):,}")
    file, pixels = source_name(found[0]), read_source(found[0])
    size, (height, width) = model.settings.codec.size, pixels.shape[:2]
    if detector is None:
        if number:
            raise ValueError(_no_such_face(file or "image", number, 1))
        box = (0.0, 0.0, float(width), float(height))
        crop = whole_image_crop(pixels, size)
        return ChosenFace(pixels, file, crop, image_to_crop(height, width, size), box)
    faces, geometry = detector.detect(pixels), model.require_geometry()
    if not 0 <= number < len(faces):
        raise ValueError(_no_such_face(file or "image", number, len(faces)))
    face = faces[number]
    crop, to_crop = crop_face(pixels, face, geometry, size), face_to_crop(face, geometry, size)
    return ChosenFace(pixels, file, crop, to_crop, face.box)


def _no_such_face(file: str, number: int, found: int) -> str:
    if found == 0:
        return (
            f"{file}: no face found; if it is a crop of a face, say so (--no-detect, in Python "
            "from_crops=True)"
        )
    known = "is one face, number 0" if found == 1 else f"are {found} faces, 0 to {found - 1}"
    return f"{file}: there is no face {number}; there {known}"
