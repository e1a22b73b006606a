import numpy as np
import pytest
from numpy.typing import NDArray

from emodc.inference.classifier import EmotionClassifier
from emodc.model.model import Model

CROPS: list[NDArray[np.uint8]] = [
    np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8) for seed in range(4)
]


@pytest.fixture(scope="module")
def classifier(tiny_model: Model) -> EmotionClassifier:
    return EmotionClassifier(tiny_model)


def test_scikit_learn_knows_it_as_a_classifier(classifier: EmotionClassifier) -> None:
    base = pytest.importorskip("sklearn.base", reason="needs scikit-learn")
    assert base.is_classifier(classifier)
    assert not base.is_regressor(classifier)
    copy = base.clone(classifier)
    assert type(copy) is EmotionClassifier
    assert copy is not classifier
    assert copy.model is classifier.model


def test_parameters_are_those_of_the_constructor(
    classifier: EmotionClassifier, tiny_model: Model
) -> None:
    assert classifier.get_params() == {"model": tiny_model}
    assert EmotionClassifier(tiny_model).set_params(model=tiny_model).model is tiny_model
    with pytest.raises(ValueError, match="unknown parameter 'depth'"):
        EmotionClassifier(tiny_model).set_params(depth=3)


def test_the_score_is_the_accuracy(classifier: EmotionClassifier) -> None:
    rows = classifier.predict(CROPS, from_crops=True, steps=2)
    truth = [str(row.label) for row in rows]
    assert classifier.score(CROPS, truth, from_crops=True, steps=2) == 1.0
    places = [classifier.classes_.index(label) for label in truth]
    places[0] = (places[0] + 1) % 7
    assert classifier.score(CROPS, np.array(places), from_crops=True, steps=2) == 0.75


def test_an_image_without_a_face_counts_as_wrong(classifier: EmotionClassifier) -> None:
    empty = np.zeros((64, 64), np.uint8)
    assert classifier.score([empty], ["neutral"], steps=1) == 0.0


def test_scores_of_what_has_no_answer_are_refused(classifier: EmotionClassifier) -> None:
    with pytest.raises(ValueError, match="4 images and 1 labels"):
        classifier.score(CROPS, ["neutral"], from_crops=True, steps=1)
    with pytest.raises(ValueError, match="no class 'joy': neutral"):
        classifier.score(CROPS[:1], ["joy"], from_crops=True, steps=1)
    with pytest.raises(ValueError, match="no class 7"):
        classifier.score(CROPS[:1], [7], from_crops=True, steps=1)
    with pytest.raises(ValueError, match="no such file"):
        classifier.score(["/none.jpg"], ["neutral"], from_crops=True, steps=1)


def test_embeddings_are_the_encoders_context(
    classifier: EmotionClassifier, tiny_model: Model
) -> None:
    found = classifier.embed(CROPS, from_crops=True)
    x0 = tiny_model.settings.codec.encode(CROPS, tiny_model.device)
    assert found.shape == (4, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tiny_model.embed(x0).detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="it has no features; leave it out"):
        classifier.embed(np.zeros((64, 64), np.uint8))
