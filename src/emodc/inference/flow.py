"""How faces move from one frame to the next, by sparse optical flow.

Points on a face are followed by the method of Lucas and Kanade (1981), in the pyramids of Bouguet,
and back again; points that do not return to where they started are dropped (Kalal, Mikolajczyk and
Matas, "Forward-Backward Error", ICPR 2010). What most of the others agree on (RANSAC) is the face's
shift, turn and scale. That costs a few milliseconds, a detection a hundred.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.faces.nets import import_cv2

Box = tuple[float, float, float, float]

_SIDE = 640  # pixels of the longer side at which points are followed
_GRID = 8  # points across and down a face
_INNER = 0.8  # of a box: its rim shows background
_RETURN = 0.02  # of the face's side: how far from its start a point may come back
_SCALES = (0.7, 1.4)  # of a face from frame to frame
_WINDOW = (15, 15)
_LEVELS = 3


class Flow:
    """Remembers the last frame and tells how faces moved since.

    Raises:
        ImportError: the extra ``faces`` is not installed.
    """

    def __init__(self) -> None:
        self._cv2 = import_cv2()
        self._last: NDArray[np.uint8] | None = None

    def follow(
        self, image: NDArray[np.uint8], boxes: Sequence[Box]
    ) -> tuple[list[NDArray[np.float64] | None], float]:
        """Tell how faces moved from the last frame to this one, and remember this one.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: of faces in the last frame: x0, y0, x1, y1 in pixels.

        Returns:
            For each face a (2, 3) similarity A, which takes a point p to ``A[:, :2] @ p +
            A[:, 2]``, or None where its points were lost; and how much the whole image changed:
            the mean difference of gray values, in [0, 1].
        """
        last, now = self._last, self._gray(image)
        self._last = now
        if last is None or last.shape != now.shape:
            return [None] * len(boxes), 0.0
        changed = float(np.abs(last[::8, ::8].astype(np.int16) - now[::8, ::8]).mean() / 255)
        if not boxes:
            return [], changed
        scale = max(1.0, max(image.shape[:2]) / _SIDE)
        starts = np.stack([_points(box) for box in boxes]) / scale  # (N, P, 2)
        ends, missed = self._followed(last, now, starts)
        sides = np.array([np.sqrt(max(area(box), 1.0)) for box in boxes]) / scale
        returned = missed <= np.maximum(0.5, _RETURN * sides)[:, None]
        return [
            self._similarity(start[good], end[good], scale)
            for start, end, good in zip(starts, ends, returned, strict=True)
        ], changed

    def remember(self, image: NDArray[np.uint8]) -> None:
        """Take this as the last frame."""
        self._last = self._gray(image)

    def _gray(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        scale = _SIDE / max(image.shape[:2])
        if scale < 1:
            size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
            image = self._cv2.resize(image, size, interpolation=self._cv2.INTER_AREA)
        return np.asarray(self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY), np.uint8)

    def _followed(
        self, last: NDArray[np.uint8], now: NDArray[np.uint8], starts: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where points (N, P, 2) went, and how far (N, P) they missed on their way back."""
        begin = starts.reshape(-1, 1, 2).astype(np.float32)
        how: dict[str, Any] = {"winSize": _WINDOW, "maxLevel": _LEVELS}
        there, found, _ = self._cv2.calcOpticalFlowPyrLK(last, now, begin, None, **how)
        back, again, _ = self._cv2.calcOpticalFlowPyrLK(now, last, there, None, **how)
        missed = np.linalg.norm(back - begin, axis=2)
        missed[(found == 0) | (again == 0)] = np.inf
        return there.reshape(starts.shape).astype(np.float64), missed.reshape(starts.shape[:2])

    def _similarity(
        self, start: NDArray[np.float64], end: NDArray[np.float64], scale: float
    ) -> NDArray[np.float64] | None:
        enough = _GRID**2 // 2
        if len(start) < enough:
            return None
        spread = float(np.ptp(start, axis=0).max())
        matrix, agreeing = self._cv2.estimateAffinePartial2D(
            start, end, ransacReprojThreshold=max(1.0, 0.03 * spread)
        )
        if matrix is None or agreeing.sum() < enough:
            return None
        if not _SCALES[0] < np.hypot(matrix[0, 0], matrix[1, 0]) < _SCALES[1]:
            return None
        matrix[:, 2] *= scale
        return np.asarray(matrix, np.float64)


def area(box: Box) -> float:
    """Return the area of a box in square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])


def _points(box: Box) -> NDArray[np.float64]:
    """Return a grid of points on a face, (P, 2)."""
    x0, y0, x1, y1 = box
    steps = (np.linspace(-_INNER, _INNER, _GRID) + 1) / 2
    x, y = np.meshgrid(x0 + steps * (x1 - x0), y0 + steps * (y1 - y0))
    return np.stack([x, y], axis=2).reshape(-1, 2)
