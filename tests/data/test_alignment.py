from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from emodc.data import FaceData
from emodc.data.alignment import aligned, measured_geometry
from emodc.evaluation.evaluate import evaluate
from emodc.faces.detector import Face
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.inference.classifier import EmotionClassifier
from emodc.labels import BASIC7
from emodc.model.model import Model

SAMPLES = Path(__file__).parents[2] / "samples"


def images(*shown: NDArray[np.uint8]) -> FaceData:
    return FaceData(
        name="made",
        split="test",
        label_set=BASIC7,
        labels=np.arange(len(shown)) % 7,
        ids=[f"p{i}" for i in range(len(shown))],
        reader=lambda index: shown[index],
        stamp=lambda index: "",
    )


class Finder:
    """Stands for a detector that finds one upright face of FER2013's proportions, or none."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        self.seen.append(image.shape)
        if not image.any():
            return []
        side = image.shape[0]
        return [Face((0, 0, side, side), np.array(FER2013_GEOMETRY.landmarks) * side, 0.9)]


def test_small_images_are_enlarged_and_come_back_as_they_were() -> None:
    smooth = np.add.outer(np.arange(48) * 2, np.arange(48) * 3).astype(np.uint8)
    large = np.zeros((300, 300, 3), np.uint8) + 9
    finder: Any = Finder()
    data = aligned(images(smooth, large), FER2013_GEOMETRY, 48, finder)
    assert np.abs(data.image(0)[..., 0].astype(int) - smooth).max() <= 6
    assert data.image(1).shape == (48, 48, 3)
    assert finder.seen == [(192, 192, 3), (300, 300, 3)]
    assert data.fingerprint() != images(smooth, large).fingerprint()


def test_a_image_without_a_face_is_not_replaced_by_the_whole() -> None:
    blank = np.zeros((48, 48), np.uint8)
    finder: Any = Finder()
    data = aligned(images(blank), FER2013_GEOMETRY, 48, finder)
    with pytest.raises(ValueError, match="no face found in p0"):
        data.image(0)


def test_evaluation_counts_and_lists_them(tiny_model: Model) -> None:
    face = np.asarray(Image.open(SAMPLES / "astronaut.jpg").convert("RGB"))
    data = images(face, np.zeros((60, 60), np.uint8), face)
    report = evaluate(tiny_model, data, steps=2, detect=True)
    assert report.detect is True
    assert report.n_images == 2
    assert report.n_without_face == report.n_skipped == 1
    assert [vars(image) for image in report.skipped] == [
        {"id": "p1", "reason": "no face found in p1"}
    ]


def test_the_geometry_of_crops_is_measured() -> None:
    square, wide = np.full((60, 60), 9, np.uint8), np.full((40, 60, 3), 9, np.uint8)
    finder: Any = Finder()
    found = measured_geometry(images(*[square] * 3), finder)
    assert found is not None
    expected = np.array(FER2013_GEOMETRY.landmarks)
    np.testing.assert_allclose(np.array(found.landmarks), expected, atol=1e-6)
    # A wide crop is padded above and below; the finder measures from its own upper edge.
    padded = measured_geometry(images(*[wide] * 3), finder)
    assert padded is not None
    assert padded.landmarks[3][1] == pytest.approx((0.752 * 160 + 40) / 240)
    blank = np.zeros((60, 60), np.uint8)
    assert measured_geometry(images(square, blank, blank), finder) is None


def test_a_model_without_a_geometry_takes_crops_only(tiny_model: Model) -> None:
    classifier = EmotionClassifier(replace(tiny_model, geometry=None))
    crop = np.full((48, 48), 9, np.uint8)
    assert classifier.predict(crop, from_crops=True, steps=1)[0].label
    with pytest.raises(ValueError, match=r"cannot be shown photographs.*--no-detect"):
        classifier.predict(crop, steps=1)
