from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the extra faces")

from emodc.faces.yunet import YuNet


def test_the_network_is_never_shown_an_image_of_one_row_of_cells() -> None:
    """OpenCV answers some of these from memory that it never wrote."""
    finder, shown = YuNet(), list[tuple[int, ...]]()
    make = finder._cv2.dnn.blobFromImage

    def watched(image: Any, **options: Any) -> Any:
        shown.append(image.shape)
        return make(image, **options)

    finder._cv2 = SimpleNamespace(
        dnn=SimpleNamespace(blobFromImage=watched, readNetFromONNX=finder._cv2.dnn.readNetFromONNX)
    )
    for shape in ((32, 128, 3), (128, 32, 3), (64, 256, 3), (160, 192, 3)):
        boxes, points, scores = finder(np.full(shape, 128, np.uint8), 1e-6)
        assert len(boxes) == len(points) == len(scores) > 0
    assert shown == [(128, 128, 3), (128, 128, 3), (128, 256, 3), (160, 192, 3)]
