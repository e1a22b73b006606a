"""Finding faces, aligning them and cropping them the way the training data shows them.

A classifier trained on tight face crops fails on photographs unless the face is found and brought
into the same frame first. `FaceDetector` finds boxes and five landmarks, `crop_face` turns and
scales the image until the landmarks lie where `CropGeometry` says, and `whole_image_crop`
serves images that are face crops already.

Coordinates are (x, y) in pixels, continuous: pixel (column j, row i) covers the square
[j, j+1) x [i, i+1), so that its center is (j + 0.5, i + 0.5) and resizing by a factor multiplies
coordinates by that factor. "Left" and "right" are the viewer's: the left eye is the one nearer to
the left edge of an upright image.

Finding and aligning needs the extra `faces`; `whole_image_crop` does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.faces.candidates import merge
from emodc.faces.centerface import CenterFace
from emodc.faces.geometry import CropGeometry
from emodc.faces.nets import import_cv2
from emodc.faces.search import Search
from emodc.faces.yunet import YuNet

DETECTORS: Mapping[str, tuple[type[CenterFace] | type[YuNet], float]] = {
    "centerface": (CenterFace, 0.4),
    "yunet": (YuNet, 0.6),
}
"""The detectors there are: their networks and default thresholds."""

WORKING_SIZE = 1024
"""Pixels that the longer side of an image is shrunk to, if it has more."""

_LEAST_SIDE = 192  # of images to find faces in, in pixels
_SQUARE_LIMIT = 8192  # pixels a side up to which an image is made square as it is
_WARP_LIMIT = 32766  # OpenCV warps nothing longer than this


@dataclass(frozen=True, eq=False)
class Face:
    """One face found in an image.

    Attributes:
        box: x0, y0, x1, y1 in pixels, within the image.
        landmarks: (5, 2) float64, pixels, in the order of `emodc.faces.geometry.LANDMARKS`; may lie
            outside the image when the face is cut off.
        score: the detector's confidence in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


class FaceDetector:
    """Finds upright faces with five landmarks.

    The network sees the image three times: as it is (shrunk to `working_size`), to find the small
    faces of a photograph, and as two thumbnails, one of them with a margin, to find a face that
    fills the frame, which it misses at full size. The thumbnails cost little, and averaging what
    the views say about one face makes its landmarks steadier. A panorama is also looked at in
    parts.

    CenterFace at full size is what takes time. It glances at 320 pixels first, and looks closely
    only if it found nothing or a face narrower than 48 pixels there, or if YuNet, a tenth of the
    work, sees a face that it did not.

    Threads may share an instance, and it can be pickled and copied.

    Args:
        name: ``centerface`` (`emodc.faces.centerface`) or ``yunet`` (`emodc.faces.yunet`), which is
            smaller and faster and misses more of what is blurred, gray or turned.
        threshold: least score in (0, 1) at which something counts as a face; 0.4 for CenterFace and
            0.6 for YuNet if not given.
        smallest_face: pixels of the image; narrower faces are left out. A large number saves time,
            because the image is shrunk as far as it allows.
        working_size: pixels; an image with a longer side above this is shrunk to it, and so is each
            part of a panorama. Faces narrower than about 25 pixels after that are not found.

    Raises:
        ImportError: the extra `faces` is not installed.
        ValueError: an unknown name, a threshold outside (0, 1), a negative width of faces, or a
            working size outside 128 to 8192.
    """

    def __init__(
        self,
        name: str = "centerface",
        *,
        threshold: float | None = None,
        smallest_face: int = 0,
        working_size: int = WORKING_SIZE,
    ) -> None:
        if name not in DETECTORS:
            raise ValueError(f"no detector '{name}': give one of {', '.join(DETECTORS)}")
        network, default = DETECTORS[name]
        threshold = default if threshold is None else threshold
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
        if smallest_face < 0:
            raise ValueError(f"smallest_face must be at least 0 pixels, got {smallest_face}")
        if not 128 <= working_size <= _SQUARE_LIMIT:
            raise ValueError(
                f"working_size must be between 128 and {_SQUARE_LIMIT} pixels, got {working_size}"
            )
        self.name = name
        self.threshold = threshold
        self.smallest_face = smallest_face
        self.working_size = working_size
        scout = YuNet() if name == "centerface" else None
        self._search = Search(network(), scout, threshold, smallest_face, working_size)

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces in an image.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.

        Returns:
            The faces, largest box first; an empty list if there is none.

        Raises:
            ValueError: `image` is not a (H, W, 3) uint8 array.
        """
        _check_rgb(image)
        height, width = image.shape[:2]
        faces = []
        for box, landmarks, score in zip(*merge(self._search(image)), strict=True):
            x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height]).tolist()
            if x1 - x0 >= self.smallest_face:
                faces.append(Face((x0, y0, x1, y1), landmarks, float(score)))
        return sorted(faces, key=lambda face: face.area, reverse=True)


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image in which a face can be found, though it is small.

    The detector is made for photographs. An image whose longer side is below 192 pixels is
    enlarged by a whole factor (bicubic); 48 pixels become 192.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (n H, n W, 3) uint8 RGB, the image itself if it is large enough.

    Raises:
        ImportError: the extra `faces` is not installed.
        ValueError: `image` is not a (H, W, 3) uint8 array.
    """
    _check_rgb(image)
    factor = -(-_LEAST_SIDE // max(image.shape[:2]))
    if factor <= 1:
        return image
    cv2, size = import_cv2(), (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def crop_face(
    image: NDArray[np.uint8], face: Face, geometry: CropGeometry, size: int
) -> NDArray[np.uint8]:
    """Cut a face out, upright and scaled so that its landmarks lie where `geometry` has them.

    The transform is the least-squares similarity from the landmarks to the geometry. Every pixel
    of the crop is the mean over its footprint in the image, so shrinking does not alias. Beyond
    the image its edge pixels are repeated.

    Args:
        image: (H, W, 3) uint8 RGB, the image `face` was found in.
        face: what to cut out.
        geometry: where the landmarks go.
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ImportError: the extra `faces` is not installed.
        ValueError: `image` is not a (H, W, 3) uint8 array or has more than 32766 pixels a side,
            `size` is not positive, or the landmarks coincide.
    """
    _check_rgb(image)
    _check_size(size)
    if max(image.shape) > _WARP_LIMIT:
        raise ValueError(f"an image to crop may have {_WARP_LIMIT} pixels a side at most")
    cv2 = import_cv2()
    forward = similarity_transform(face.landmarks, np.array(geometry.landmarks) * size)
    # Crop pixels per image pixel. When shrinking, warp to a crop `fine` times larger whose pixels
    # are no further apart than those of the image, then average.
    fine = int(np.ceil(1 / np.linalg.norm(forward[:, 0])))
    fine = max(1, min(fine, _WARP_LIMIT // size))
    inverse = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))[:2]
    inverse[:, :2] /= fine
    # OpenCV counts from the center of the first pixel, we count from its corner.
    inverse[:, 2] += inverse[:, :2] @ np.array([0.5, 0.5]) - 0.5
    warped = cv2.warpAffine(
        image,
        inverse,
        (size * fine, size * fine),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if fine == 1:
        return np.asarray(warped, np.uint8)
    return np.asarray(cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def whole_image_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Take an image that is a face crop already as the crop.

    An image that is not square is made so by repeating its edge pixels evenly on both sides of
    the shorter dimension: nothing is cut off and no proportion of the face changes. It is then
    resized (bicubic, antialiased when shrinking); at the right size already it is returned as is.
    One of more than 8,192 pixels a side is first shrunk to that by averaging: a strip of 65,000
    pixels would take 12 gigabytes as a square.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: `image` is not a (H, W, 3) uint8 array, or `size` is not positive.
    """
    _check_rgb(image)
    _check_size(size)
    if max(image.shape) > _SQUARE_LIMIT:
        scale = max(size, _SQUARE_LIMIT) / max(image.shape)
        shrunk = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = np.asarray(Image.fromarray(image).resize(shrunk, Image.Resampling.BOX), np.uint8)
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    padding = ((top, side - height - top), (left, side - width - left), (0, 0))
    square = Image.fromarray(np.pad(image, padding, mode="edge"))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC), np.uint8)


def similarity_transform(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the rotation, uniform scale and shift that best map `source` onto `target`.

    Least squares, without reflection: Umeyama, "Least-squares estimation of transformation
    parameters between two point patterns", PAMI 1991. In the plane the rotation and scale are one
    complex number, which makes the solution a quotient of two sums.

    Args:
        source: (N, 2) float, N >= 2.
        target: (N, 2) float.

    Returns:
        (2, 3) float64 matrix A; a point p goes to `A[:, :2] @ p + A[:, 2]`.

    Raises:
        ValueError: the points of `source` coincide or are not finite, or no rotation fits better
            than another.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    p = (source - source_mean) @ np.array([1, 1j])
    q = (target - target_mean) @ np.array([1, 1j])
    spread = np.vdot(p, p).real
    a = np.vdot(p, q) / spread if spread > 0 else 0j
    if not (np.isfinite(a) and abs(a) > 0):
        raise ValueError("no similarity transform fits: the points coincide or are not finite")
    linear = np.array([[a.real, -a.imag], [a.imag, a.real]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def _check_rgb(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"an image must be (H, W, 3) uint8 RGB, got {image.dtype} of shape {image.shape}"
        )


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"the side of a crop must be at least one pixel, got {size}")
