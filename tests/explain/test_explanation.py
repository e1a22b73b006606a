import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import emodc
from emodc.explain.explanation import Explanation
from emodc.explain.picture import aligned
from emodc.inference.classifier import EmotionClassifier
from emodc.model.model import Model

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def explanation(tiny_model: Model) -> Explanation:
    classifier = EmotionClassifier(tiny_model)
    return classifier.explain(SAMPLES / "happiness.jpg", from_crops=True, steps=8)


def test_it_says_what_it_shows(explanation: Explanation) -> None:
    assert explanation.file == str(SAMPLES / "happiness.jpg")
    assert explanation.map.shape == (16, 16)
    assert explanation.map.sum() == pytest.approx(explanation.evidence.difference, abs=1e-5)
    height, width = explanation.image.shape[:2]
    assert explanation.on_image().shape == (height, width)
    assert explanation.on_image().sum() == pytest.approx(explanation.map.sum(), rel=0.05)


def test_the_numbers_are_written_whole(explanation: Explanation, tmp_path: Path) -> None:
    explanation.save(tmp_path / "e.json")
    read = json.loads((tmp_path / "e.json").read_text())
    assert read == json.loads(json.dumps(explanation.to_dict()))
    assert np.sum(read["map"]) == pytest.approx(read["difference"], abs=1e-5)
    assert sum(read["regions"].values()) == pytest.approx(read["difference"], abs=1e-5)
    assert sum(band["difference"] for band in read["bands"]) == pytest.approx(
        read["difference"], abs=1e-5
    )


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_the_figure_is_written_and_always_the_same(
    explanation: Explanation, tmp_path: Path, ending: str
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra figures")
    first, again = tmp_path / f"1{ending}", tmp_path / f"2{ending}"
    explanation.save(first)
    explanation.save(again)
    assert first.read_bytes() == again.read_bytes()
    if ending == ".png":
        with Image.open(first) as image:
            assert image.width > 1000


def test_the_figure_names_both_classes_by_color(explanation: Explanation) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra figures")
    figure = explanation.plot()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"speaks for {explanation.label}",
        f"speaks for {explanation.against}",
    ]
    assert explanation.label in figure.get_suptitle()


def test_another_ending_is_refused(explanation: Explanation, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"e\.bmp: give a file name that ends with \.png"):
        explanation.save(tmp_path / "e.bmp")
    assert not list(tmp_path.iterdir())


def test_the_face_is_drawn_as_the_map_lies() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:40, 60:80] = 255  # from the upper left corner of the map on
    to_map = np.array([[0.5, 0.0, -30.0], [0.0, 0.5, -10.0]])
    face = aligned(image, to_map, 20)
    quarter = len(face) // 2
    edge = 30  # pixels that the interpolation blurs
    assert face[edge : quarter - edge, edge : quarter - edge].min() > 250
    assert face[quarter + edge :, edge : quarter - edge].max() < 5


def test_faces_are_found_numbered_and_refused_by_number(tiny_model: Model) -> None:
    pytest.importorskip("cv2", reason="needs the extra faces")
    classifier = EmotionClassifier(tiny_model)
    photo = SAMPLES / "astronaut.jpg"
    found = classifier.explain(photo, label="happy", against="neutral", steps=8)
    (row,) = classifier.predict(photo, steps=1)
    assert found.box == row.box
    assert (found.label, found.against) == ("happiness", "neutral")
    with pytest.raises(ValueError, match=r"astronaut\.jpg: there is no face 1; there is one face"):
        classifier.explain(photo, face=1)
    with pytest.raises(ValueError, match="no face found; if it is a crop of a face"):
        classifier.explain(np.zeros((64, 64), np.uint8))


def test_one_image_at_a_time(tiny_model: Model, tmp_path: Path) -> None:
    classifier = EmotionClassifier(tiny_model)
    with pytest.raises(ValueError, match="one image is explained at a time, not 2"):
        classifier.explain(np.zeros((2, 64, 64, 3), np.uint8), from_crops=True)
    with pytest.raises(ValueError, match=r"gone\.jpg"):
        classifier.explain(tmp_path / "gone.jpg", from_crops=True)


def test_it_is_public() -> None:
    assert emodc.Explanation is Explanation
