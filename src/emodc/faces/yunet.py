"""YuNet, a tiny face detector with five landmarks, run by OpenCV on the CPU.

Wu, Peng, Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
20, 656-665. The network (0.3 MB, ONNX, Apache-2.0) ships with the package. OpenCV's own class for
it, `FaceDetectorYN`, does not let layer fusion be switched off (see `emodc.faces.centerface`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.faces.candidates import Candidates
from emodc.faces.nets import Nets, import_cv2, model_bytes

_STRIDES = (8, 16, 32)  # pixels between the cells of the three maps
_LEAST_SIDE = 128
"""Pixels. OpenCV answers images of 32 pixels, one row of cells of the last map, from memory that it
never wrote: some times in a hundred with numbers of any size."""

_OUTPUTS = [f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")]


class YuNet:
    """The network and the reading of its answers; a drop-in for `emodc.faces.centerface`.

    Threads may share an instance. Copies, and what pickle restores, read the network again when
    they first need it.

    Raises:
        ImportError: the extra `faces` is not installed.
    """

    def __init__(self) -> None:
        self._cv2 = import_cv2()
        self._nets = Nets(self._read)

    def __reduce__(self) -> tuple[type[YuNet], tuple[()]]:
        return YuNet, ()

    def _read(self) -> Any:
        net = self._cv2.dnn.readNetFromONNX(model_bytes("yunet"))
        net.enableFusion(False)
        return net

    def __call__(self, image: NDArray[np.uint8], threshold: float) -> Candidates:
        """Return every cell whose score is above the threshold; see `CenterFace`.

        Args:
            image: (H, W, 3) uint8 RGB, H and W multiples of `emodc.faces.nets.MULTIPLE`.
            threshold: in (0, 1).
        """
        height, width = image.shape[:2]
        missing = (0, max(0, _LEAST_SIDE - height)), (0, max(0, _LEAST_SIDE - width)), (0, 0)
        image = np.pad(image, missing)  # below and to the right: places stay as they are
        with self._nets.one() as net:
            net.setInput(self._cv2.dnn.blobFromImage(image, swapRB=True))
            answers = [np.array(answer)[0] for answer in net.forward(_OUTPUTS)]
        found = [
            _decode(answers[4 * number : 4 * number + 4], stride, image.shape[1], threshold)
            for number, stride in enumerate(_STRIDES)
        ]
        boxes, points, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        return boxes, points, scores


def _decode(
    maps: list[NDArray[np.float32]], stride: int, width: int, threshold: float
) -> Candidates:
    """Read class and object scores (N, 1), boxes (N, 4) and landmarks (N, 10) of the cells.

    Centers and landmarks are counted in cells from the cell's corner, sizes are logarithms.
    """
    kind, face, box, points = maps
    scores = np.sqrt(np.clip(kind[:, 0], 0, 1) * np.clip(face[:, 0], 0, 1)).astype(np.float64)
    cells = np.flatnonzero(scores > threshold)
    corner = np.stack([cells % (width // stride), cells // (width // stride)], axis=1)
    center = (corner + box[cells, :2].astype(np.float64)) * stride
    half = np.exp(box[cells, 2:].astype(np.float64)) * stride / 2
    landmarks = (points[cells].reshape(-1, 5, 2).astype(np.float64) + corner[:, None]) * stride
    return np.concatenate([center - half, center + half], axis=1), landmarks, scores[cells]
