"""A dataset as `predict` would see it, and where its images show the landmarks."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emodc.data.face_data import FaceData
from emodc.faces.detector import FaceDetector, crop_face, enlarged
from emodc.faces.geometry import CropGeometry
from emodc.faces.reading import as_rgb

NO_FACE = "no face found"
"""What the reader of an image without a face says first."""

_MIRRORED = [1, 0, 2, 4, 3]  # which landmark each becomes in the mirror


def aligned(
    data: FaceData, geometry: CropGeometry, size: int, detector: FaceDetector | None = None
) -> FaceData:
    """Return a dataset whose images are replaced by the crop of their largest face.

    Args:
        data: images of one face each, cropped or not; small ones are enlarged for detection.
        geometry: where the crop shows the landmarks.
        size: side of the crops in pixels.
        detector: finds the faces; a `FaceDetector` with its defaults if not given.

    Returns:
        The dataset with crops (size, size, 3) uint8 RGB. Reading an image in which no face is
        found raises a ValueError that begins with `NO_FACE`.

    Raises:
        ImportError: the extra `faces` is not installed.
    """
    finder = detector or FaceDetector()

    def read(index: int) -> NDArray[np.uint8]:
        image = enlarged(as_rgb(data.image(index)))
        faces = finder.detect(image)
        if not faces:
            raise ValueError(f"{NO_FACE} in {data.ids[index]}")
        return crop_face(image, faces[0], geometry, size)

    described = f"{geometry}/{size}"
    return replace(data, reader=read, stamp=lambda index: f"{data.stamp(index)}/{described}")


def measured_geometry(
    data: FaceData, detector: FaceDetector | None = None, *, images: int = 100
) -> CropGeometry | None:
    """Return where the images of a dataset show the landmarks.

    Medians over evenly spaced images in which a face is found, and their mirror images.

    Args:
        data: face crops, all cut in the same way.
        detector: finds the faces; a `FaceDetector` with its defaults if not given.
        images: how many to try at most.

    Returns:
        The geometry; None if a face is found in less than half of the images tried, or if the
        landmarks do not lie in order.

    Raises:
        ImportError: the extra `faces` is not installed.
        ValueError: an image cannot be read.
    """
    finder = detector or FaceDetector()
    points = []
    tried = np.unique(np.linspace(0, len(data) - 1, images).astype(int)).tolist()
    for index in tried:
        image = enlarged(as_rgb(data.image(index)))
        if faces := finder.detect(image):
            size = np.array(image.shape[1::-1])  # width, height
            side = size.max()  # a crop that is not square is padded evenly
            points.append((faces[0].landmarks + (side - size) / 2) / side)
    if 2 * len(points) < len(tried):
        return None
    both = np.stack([*points, *((point * [-1, 1] + [1, 0])[_MIRRORED] for point in points)])
    try:
        return CropGeometry(tuple((float(x), float(y)) for x, y in np.median(both, axis=0)))
    except ValueError:
        return None
