"""Finding faces, aligning them and cropping them the way the training data shows them.

A classifier trained on tight face crops fails on photographs unless the face is found and brought
into the same frame first. `FaceDetector` finds boxes and five landmarks, `crop_face` turns and
scales the picture until the landmarks lie where `CropGeometry` says, and `whole_image_crop`
serves pictures that are face crops already.

Coordinates are (x, y) in pixels, continuous: pixel (column j, row i) covers the square
[j, j+1) x [i, i+1), so that its centre is (j + 0.5, i + 0.5) and resizing by a factor multiplies
coordinates by that factor. "Left" and "right" are the viewer's: the left eye is the one nearer to
the left edge of an upright picture.

Finding and aligning needs the extra `faces`; `whole_image_crop` does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.centerface import MULTIPLE, Candidates, CenterFace, import_cv2, merge

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""The order of the five landmarks everywhere: eye centres, tip of the nose, mouth corners."""

_CLOSE_UPS = ((128, 0), (64, 32))  # longer side and margin of the thumbnails, in pixels
_LEAST_SIDE = 192  # of pictures to find faces in, in pixels
_WARP_LIMIT = 32766  # OpenCV warps nothing longer than this


@dataclass(frozen=True, eq=False)
class Face:
    """One face found in a picture.

    Attributes:
        box: x0, y0, x1, y1 in pixels, within the picture.
        landmarks: (5, 2) float64, pixels, in the order of `LANDMARKS`; may lie outside the
            picture when the face is cut off.
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


@dataclass(frozen=True)
class CropGeometry:
    """Where a crop shows the five landmarks: all that ties a classifier to its kind of crop.

    Attributes:
        landmarks: five (x, y) positions in the unit square (origin top left), in the order of
            `LANDMARKS`.

    Raises:
        ValueError: not five pairs of numbers in [0, 1], or a left landmark that is not to the left
            of its right counterpart.
    """

    landmarks: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.landmarks) != len(LANDMARKS) or any(len(p) != 2 for p in self.landmarks):
            raise ValueError(f"a crop geometry needs an (x, y) for each of {', '.join(LANDMARKS)}")
        for name, point in zip(LANDMARKS, self.landmarks, strict=True):
            # Written so that NaN, for which every comparison is false, is refused too.
            if not all(0.0 <= value <= 1.0 for value in point):
                raise ValueError(f"crop geometry: {name} is at {point}, outside the unit square")
        for left, right in ((0, 1), (3, 4)):
            if not self.landmarks[left][0] < self.landmarks[right][0]:
                raise ValueError(
                    f"crop geometry: {LANDMARKS[left]} must lie to the left of {LANDMARKS[right]}"
                )

    def to_dict(self) -> dict[str, list[float]]:
        """Return the positions by landmark name, ready for JSON."""
        return {name: list(p) for name, p in zip(LANDMARKS, self.landmarks, strict=True)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CropGeometry:
        """Read what `to_dict` returned.

        Raises:
            ValueError: a landmark is missing or unknown, or its position is not two numbers in
                [0, 1].
        """
        if not isinstance(values, Mapping) or set(values) != set(LANDMARKS):
            raise ValueError(f"a crop geometry has the keys {', '.join(LANDMARKS)}; got {values!r}")
        try:
            points = tuple((float(x), float(y)) for x, y in (values[name] for name in LANDMARKS))
        except (TypeError, ValueError):
            raise ValueError("crop geometry: every landmark needs two numbers, x and y") from None
        return cls(points)


FER2013_GEOMETRY = CropGeometry(
    ((0.314, 0.401), (0.686, 0.401), (0.5, 0.603), (0.352, 0.752), (0.648, 0.752))
)
"""Medians over 4,000 training pictures of FER2013 (99.3 % with a face found at a score above 0.3)
and their mirror images, as printed by scripts/fit_crop_geometry.py."""

ARCFACE_GEOMETRY = CropGeometry(
    (
        (38.2946 / 112, 51.6963 / 112),
        (73.5318 / 112, 51.5014 / 112),
        (56.0252 / 112, 71.7366 / 112),
        (41.5493 / 112, 92.3655 / 112),
        (70.7299 / 112, 92.2041 / 112),
    )
)
"""The 112x112 template of InsightFace, which ArcFace and most face recognition since is trained on
(Deng et al., "ArcFace", CVPR 2019; ``face_align.py`` of its code)."""


def with_margin(geometry: CropGeometry, margin: float) -> CropGeometry:
    """Return the geometry of crops that show more, or less, around the same face.

    Args:
        geometry: what is scaled, about the centre of the crop.
        margin: what the crop gains on each side, as a share of its present side: 0.1 shows 1.2
            times as much in width and height. Negative values show less.

    Raises:
        ValueError: the margin is not a number above -0.5 (nothing would be left), or it moves a
            landmark out of the crop.
    """
    if not -0.5 < margin < float("inf"):
        raise ValueError(f"margin must be a number above -0.5, got {margin}")
    scale = 1.0 / (1.0 + 2.0 * margin)
    return CropGeometry(
        tuple((0.5 + (x - 0.5) * scale, 0.5 + (y - 0.5) * scale) for x, y in geometry.landmarks)
    )


class FaceDetector:
    """Finds upright faces with CenterFace (see `emodc.centerface`).

    The network sees the picture three times: as it is (shrunk to `working_size`), to find the small
    faces of a photograph, and as two thumbnails, one of them with a margin, to find a face that
    fills the frame, which it misses at full size. The thumbnails cost little, and averaging what
    the views say about one face makes its landmarks steadier.

    An instance must not be used by two threads at once.

    Args:
        threshold: least score in (0, 1) at which something counts as a face.
        working_size: pixels; a picture with a longer side above this is shrunk to it. Faces
            narrower than about 25 pixels after that are not found.

    Raises:
        ImportError: the extra `faces` is not installed.
        ValueError: a threshold outside (0, 1), or a working size below 128.
    """

    def __init__(self, threshold: float = 0.4, working_size: int = 1024) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
        if working_size < 128:
            raise ValueError(f"working_size must be at least 128 pixels, got {working_size}")
        self.threshold = threshold
        self.working_size = working_size
        self._network = CenterFace()

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces in a picture.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.

        Returns:
            The faces, largest box first; an empty list if there is none.

        Raises:
            ValueError: `image` is not a (H, W, 3) uint8 array.
        """
        _check_rgb(image)
        height, width = image.shape[:2]
        views = [self._view(image, side, margin) for side, margin in _CLOSE_UPS]
        if max(height, width) > 128:
            views.append(self._view(image, min(max(height, width), self.working_size), 0))
        boxes, points, scores = (np.concatenate(part) for part in zip(*views, strict=True))
        faces = []
        for box, landmarks, score in zip(*merge((boxes, points, scores)), strict=True):
            x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height]).tolist()
            faces.append(Face((x0, y0, x1, y1), landmarks, float(score)))
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def _view(self, image: NDArray[np.uint8], side: int, margin: int) -> Candidates:
        """Run the network on `image` resized to a longer side of `side`, in a black margin."""
        cv2 = import_cv2()
        height, width = image.shape[:2]
        scale = side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        canvas_w, canvas_h = (-(-(n + 2 * margin) // MULTIPLE) * MULTIPLE for n in size)
        # Black, because that is what the network's own zero padding looks like: a replicated or
        # mirrored border costs ten points of detection rate on FER2013.
        canvas = np.zeros((canvas_h, canvas_w, 3), np.uint8)
        inner = canvas[margin : margin + size[1], margin : margin + size[0]]
        inner[:] = cv2.resize(image, size, interpolation=how)
        boxes, points, scores = self._network(canvas, self.threshold)
        factor = np.array([width / size[0], height / size[1]])
        return (boxes - margin) * np.tile(factor, 2), (points - margin) * factor, scores


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture in which a face can be found, though it is small.

    The detector is made for photographs. A picture whose longer side is below 192 pixels is
    enlarged by a whole factor (bicubic); 48 pixels become 192.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (n H, n W, 3) uint8 RGB, the picture itself if it is large enough.

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
    of the crop is the mean over its footprint in the picture, so shrinking does not alias. Beyond
    the picture its edge pixels are repeated.

    Args:
        image: (H, W, 3) uint8 RGB, the picture `face` was found in.
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
        raise ValueError(f"a picture to crop may have {_WARP_LIMIT} pixels a side at most")
    cv2 = import_cv2()
    forward = similarity_transform(face.landmarks, np.array(geometry.landmarks) * size)
    # Crop pixels per picture pixel. When shrinking, warp to a crop `fine` times larger whose pixels
    # are no further apart than those of the picture, then average.
    fine = int(np.ceil(1 / np.linalg.norm(forward[:, 0])))
    fine = max(1, min(fine, _WARP_LIMIT // size))
    inverse = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))[:2]
    inverse[:, :2] /= fine
    # OpenCV counts from the centre of the first pixel, we count from its corner.
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
    """Take a picture that is a face crop already as the crop.

    A picture that is not square is made so by repeating its edge pixels evenly on both sides of
    the shorter dimension: nothing is cut off and no proportion of the face changes. It is then
    resized (bicubic, antialiased when shrinking); at the right size already it is returned as is.

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
            f"a picture must be (H, W, 3) uint8 RGB, got {image.dtype} of shape {image.shape}"
        )


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"the side of a crop must be at least one pixel, got {size}")
