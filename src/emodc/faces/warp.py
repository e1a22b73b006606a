"""From a crop back onto the image it was cut from.

Transforms are (2, 3) matrices A of the coordinates of `emodc.faces.detector`; a point p of the
image lies at `A[:, :2] @ p + A[:, 2]` in the crop.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from emodc.faces.detector import Face, similarity_transform
from emodc.faces.geometry import CropGeometry

Matrix = NDArray[np.float64]


def face_to_crop(face: Face, geometry: CropGeometry, size: int) -> Matrix:
    """Return where `emodc.faces.detector.crop_face` takes the points of the image.

    Args:
        face: that was cut out.
        geometry: of the crop.
        size: side of the crop in pixels.

    Raises:
        ValueError: the landmarks coincide.
    """
    return similarity_transform(face.landmarks, np.array(geometry.landmarks) * size)


def image_to_crop(height: int, width: int, size: int) -> Matrix:
    """Return where `emodc.faces.detector.whole_image_crop` takes the points of an image.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        size: side of the crop in pixels.
    """
    side = max(height, width)
    scale, top, left = size / side, (side - height) // 2, (side - width) // 2
    return np.array([[scale, 0.0, left * scale], [0.0, scale, top * scale]])


def corners(to_crop: Matrix, size: int) -> Matrix:
    """Return where the corners of a crop lie in the image: (4, 2), clockwise from the top left.

    Args:
        to_crop: from image to crop.
        size: side of the crop in pixels.
    """
    square = np.array([[0, 0], [size, 0], [size, size], [0, size]], dtype=np.float64)
    back = np.linalg.inv(np.asarray(to_crop[:, :2], np.float64))
    return np.asarray((square - to_crop[:, 2]) @ back.T, np.float64)


def on_image(values: Matrix, to_crop: Matrix, height: int, width: int) -> Matrix:
    """Spread what the pixels of a crop hold over the pixels of the image that they show.

    A pixel of the image gets what its area holds, so the sum over a crop that lies inside the
    image stays what it was, as far as bilinear interpolation keeps it.

    Args:
        values: (N, N), on the crop.
        to_crop: from image to crop.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        (height, width) float64, 0 outside the crop.
    """
    found = np.zeros((height, width))
    size = len(values)
    least, most = corners(to_crop, size).min(axis=0), corners(to_crop, size).max(axis=0)
    x0, y0 = np.clip(np.floor(least).astype(int), 0, [width, height])
    x1, y1 = np.clip(np.ceil(most).astype(int), 0, [width, height])
    if x0 >= x1 or y0 >= y1:
        return found
    across, down = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
    (a, b, c), (d, e, f) = to_crop
    u, v = a * across + b * down + c, d * across + e * down + f
    inside = (u >= 0) & (u < size) & (v >= 0) & (v < size)
    sampled = ndimage.map_coordinates(values, [v - 0.5, u - 0.5], order=1, mode="nearest")
    area = abs(a * e - b * d)  # of an image's pixel, in pixels of the crop
    found[y0:y1, x0:x1] = np.where(inside, sampled * area, 0.0)
    return found
