import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import emodc
from emodc.faces.geometry import LANDMARKS
from emodc.faces.sources import SourceImage
from emodc.inference.classifier import EmotionClassifier
from emodc.inference.prediction import Prediction
from emodc.labels import BASIC7
from emodc.method.errors import posterior
from emodc.model.model import Model

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def classifier(tiny_model: Model) -> EmotionClassifier:
    return EmotionClassifier(tiny_model)


@pytest.fixture(scope="module")
def two_faces() -> NDArray[np.uint8]:
    """A larger face to the right of a smaller one."""
    canvas = np.full((256, 512, 3), 128, np.uint8)
    for name, side, left in (("happiness", 160, 20), ("neutral", 256, 256)):
        with Image.open(SAMPLES / f"{name}.jpg") as image:
            canvas[:side, left : left + side] = np.asarray(
                image.convert("RGB").resize((side, side))
            )
    return canvas


def crop(seed: int, side: int = 16) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


def probabilities(rows: list[Prediction]) -> NDArray[np.float64]:
    return np.array([list((row.probabilities or {}).values()) for row in rows])


def test_every_face_gets_a_row(classifier: EmotionClassifier, two_faces: NDArray[np.uint8]) -> None:
    rows = classifier.predict(two_faces, steps=2)
    assert [(row.image, row.face, row.status) for row in rows] == [(0, 0, "ok"), (0, 1, "ok")]
    for row, (x, width) in zip(rows, ((384, 256), (100, 160)), strict=True):
        assert row.box is not None
        x0, y0, x1, y1 = row.box
        assert x0 < x < x1 <= x + width / 2
        assert 0 <= y0 < y1 <= 256
        assert row.landmarks is not None
        assert len(row.landmarks) == len(LANDMARKS)
        assert row.landmarks[0][0] < row.landmarks[1][0]
        assert row.detection_score is not None
        assert 0.4 < row.detection_score <= 1


def test_probabilities_are_by_name_in_label_order(
    classifier: EmotionClassifier, tiny_model: Model
) -> None:
    (row,) = classifier.predict(crop(0), from_crops=True, steps=5)
    assert row.probabilities is not None
    assert tuple(row.probabilities) == tiny_model.label_set.classes
    assert sum(row.probabilities.values()) == pytest.approx(1)
    assert row.label == max(row.probabilities, key=row.probabilities.__getitem__)


def test_a_crop_is_scored_as_the_classifier_scores_it(
    classifier: EmotionClassifier, tiny_model: Model
) -> None:
    crops = [crop(seed) for seed in range(3)]
    errors = classifier.class_errors(crops, steps=6, seed=1)
    assert errors.shape == (3, 7, 6)
    assert errors.dtype == torch.float32
    rows = classifier.predict(crops, from_crops=True, steps=6, seed=1)
    expected = posterior(errors, tiny_model.decision.scale).numpy()
    np.testing.assert_allclose(probabilities(rows), expected, rtol=1e-4)
    assert [row.box for row in rows] == [(0, 0, 16, 16)] * 3
    assert {row.detection_score for row in rows} == {None}


def test_company_does_not_change_an_answer(classifier: EmotionClassifier) -> None:
    crops = [crop(seed) for seed in range(20)]  # more than are scored together
    together = classifier.predict(crops, from_crops=True, steps=3)
    alone = [classifier.predict(one, from_crops=True, steps=3)[0] for one in crops]
    assert [row.image for row in together] == list(range(20))
    assert [row.label for row in together] == [row.label for row in alone]
    np.testing.assert_allclose(probabilities(together), probabilities(alone), rtol=1e-4)


def test_the_seed_decides(classifier: EmotionClassifier) -> None:
    def answer(seed: int) -> list[Prediction]:
        return classifier.predict(crop(0), from_crops=True, steps=3, seed=seed)

    assert answer(3) == answer(3)
    assert answer(3) != answer(4)


def test_file_pil_and_array_agree(classifier: EmotionClassifier, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(crop(0)).save(path)
    with Image.open(path) as image:
        rows = classifier.predict([path, str(path), image, crop(0)], from_crops=True, steps=2)
    assert [row.file for row in rows] == [str(path), str(path), None, None]
    assert len({row.label for row in rows}) == 1
    np.testing.assert_allclose(probabilities(rows), probabilities(rows[:1] * 4))


def test_what_has_no_face_or_cannot_be_read_gets_a_row_and_the_rest_go_on(
    classifier: EmotionClassifier, two_faces: NDArray[np.uint8], tmp_path: Path
) -> None:
    (tmp_path / "1.jpg").write_text("not an image")
    Image.new("RGB", (64, 64)).save(tmp_path / "2.jpg")
    Image.fromarray(two_faces).save(tmp_path / "3.png")
    Image.new("RGB", (32800, 1)).save(tmp_path / "4.png")
    rows = classifier.predict([tmp_path, tmp_path / "gone.jpg"], steps=1)
    assert [(row.image, row.status) for row in rows] == [
        (0, "unreadable"),
        (1, "no_face"),
        (2, "ok"),
        (2, "ok"),
        (3, "no_face"),
        (4, "unreadable"),
    ]
    assert "not an image" in (rows[0].error or "")
    assert rows[1].error == "no face found"
    for row in (rows[0], rows[1], rows[-1]):
        assert (row.face, row.box, row.label, row.probabilities) == (None, None, None, None)


def test_probabilities_are_those_of_the_rows(
    classifier: EmotionClassifier, two_faces: NDArray[np.uint8], tmp_path: Path
) -> None:
    Image.fromarray(two_faces).save(tmp_path / "1.png")
    with Image.open(SAMPLES / "happiness.jpg") as image:
        images: list[SourceImage] = [tmp_path, str(tmp_path / "*.png"), image, two_faces]
        found = classifier.predict_proba(images, steps=1)
        rows = classifier.predict(images, steps=1)
    assert found.shape == (7, 7)
    np.testing.assert_array_equal(found, probabilities(rows))
    crops = np.stack([np.stack([crop(seed)] * 3, axis=2) for seed in range(3)])
    rows = classifier.predict(crops, from_crops=True, steps=2)
    found = classifier.predict_proba(crops, from_crops=True, steps=2)
    np.testing.assert_array_equal(found, probabilities(rows))


def test_what_has_no_probabilities_is_refused(
    classifier: EmotionClassifier, two_faces: NDArray[np.uint8], tmp_path: Path
) -> None:
    empty = np.zeros((64, 64), np.uint8)
    with pytest.raises(ValueError, match=r"image 1: no face found: .*leave it out"):
        classifier.predict_proba([two_faces, empty], steps=1)
    with pytest.raises(ValueError, match=r"gone\.jpg"):
        classifier.predict_proba(tmp_path / "gone.jpg", from_crops=True, steps=1)


def test_a_row_is_ready_for_json(
    classifier: EmotionClassifier, two_faces: NDArray[np.uint8]
) -> None:
    for row in classifier.predict([two_faces, np.zeros((64, 64), np.uint8)], steps=1):
        values = json.loads(json.dumps(row.to_dict()))
        assert values["label"] == row.label
        assert values["box"] == (None if row.box is None else list(row.box))


def test_rows_come_while_images_are_read(classifier: EmotionClassifier) -> None:
    read = 0

    def camera() -> Iterator[NDArray[np.uint8]]:
        nonlocal read
        for seed in itertools.count():
            read += 1
            yield crop(seed)

    rows = classifier.iter_predict(camera(), from_crops=True, steps=1)
    assert [row.image for row in itertools.islice(rows, 20)] == list(range(20))
    assert read <= 40


def test_progress_counts_images(classifier: EmotionClassifier) -> None:
    told: list[tuple[int, int]] = []
    classifier.predict(
        [crop(0), crop(1)], from_crops=True, steps=1, progress=lambda *done: told.append(done)
    )
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_steps_are_refused_at_once(classifier: EmotionClassifier, steps: int) -> None:
    with pytest.raises(ValueError, match="steps must be between 1 and 1000"):
        classifier.iter_predict(crop(0), from_crops=True, steps=steps)


def test_a_classifier_comes_from_a_folder(tiny_folder: Path) -> None:
    classifier = EmotionClassifier.from_pretrained(tiny_folder, device="cpu")
    assert classifier.model.name == "tiny"
    assert classifier.predict(crop(0), from_crops=True, steps=1)[0].status == "ok"


def test_a_classifier_is_saved_and_comes_back(
    classifier: EmotionClassifier, tmp_path: Path
) -> None:
    classifier.save_pretrained(tmp_path / "saved")
    again = EmotionClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.classes_ == classifier.classes_ == BASIC7.classes
    assert again.predict(crop(0), from_crops=True, steps=1) == classifier.predict(
        crop(0), from_crops=True, steps=1
    )


def test_the_package_offers_what_it_says() -> None:
    assert emodc.EmotionClassifier is EmotionClassifier
    assert set(emodc.__all__) <= set(dir(emodc))
    for name in emodc.__all__:
        assert getattr(emodc, name)
    with pytest.raises(AttributeError, match="nothing"):
        _ = emodc.nothing


def test_an_unknown_option_is_refused_with_those_there_are(classifier: EmotionClassifier) -> None:
    for ask in (classifier.predict, classifier.predict_proba, classifier.iter_predict):
        with pytest.raises(TypeError, match=r"'step': .*perhaps steps") as caught:
            ask(crop(0), from_crops=True, step=3)  # type: ignore[call-arg]
        assert "Scorer" not in str(caught.value)


def test_a_classifier_is_shown_by_what_it_tells_apart(classifier: EmotionClassifier) -> None:
    shown = repr(classifier)
    assert "'tiny'" in shown
    assert "happiness" in shown
    assert "face_unet" in shown
    assert "16 pixels" in shown
    assert len(shown) < 250
