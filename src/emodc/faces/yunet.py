"""YuNet, a tiny face detector with five landmarks, run by OpenCV on the CPU.

Wu, Peng, Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
20, 656-665. The network (0.3 MB, ONNX, Apache-2.0) ships with the package. OpenCV's own class for
it decodes its answers and removes all but the best for each face.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.faces.candidates import Candidates
from emodc.faces.nets import Nets, import_cv2, model_bytes

_COLUMNS = 15  # x, y, width, height, five times x, y, and the score


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
        none = np.empty(0, np.uint8)  # ONNX has no second file of settings
        return self._cv2.FaceDetectorYN.create("onnx", model_bytes("yunet"), none, (320, 320))

    def __call__(self, image: NDArray[np.uint8], threshold: float) -> Candidates:
        """Return one candidate for each face it sees; see `CenterFace`.

        Args:
            image: (H, W, 3) uint8 RGB.
            threshold: in (0, 1).
        """
        with self._nets.one() as net:
            net.setInputSize(image.shape[1::-1])
            net.setScoreThreshold(threshold)
            found = net.detect(np.ascontiguousarray(image[:, :, ::-1]))[1]
        rows = np.zeros((0, _COLUMNS)) if found is None else found.astype(np.float64)
        corner, extent = rows[:, :2], rows[:, 2:4]
        boxes = np.concatenate([corner, corner + extent], axis=1)
        return boxes, rows[:, 4:14].reshape(-1, 5, 2), np.clip(rows[:, 14], 0, 1)
