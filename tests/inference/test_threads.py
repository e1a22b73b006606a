"""One classifier in several threads and processes answers as it does alone."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from emodc.inference.classifier import EmotionClassifier
from emodc.inference.prediction import Prediction
from emodc.model.model import Model

pytest.importorskip("cv2")

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def classifier(tiny_model: Model) -> EmotionClassifier:
    return EmotionClassifier(tiny_model)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    """Images of several sizes: nets keep what they worked out for the size before."""
    found = []
    for path, side in zip(sorted(SAMPLES.glob("*.jpg")), (96, 100, 112, 120) * 2, strict=True):
        with Image.open(path) as image:
            found.append(np.asarray(image.convert("RGB").resize((side, side)), np.uint8))
    return found


def ask(
    classifier: EmotionClassifier, images: list[NDArray[np.uint8]], number: int
) -> list[Prediction]:
    return classifier.predict(images[number % len(images)], steps=2)


@pytest.mark.parametrize("count", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_eight_threads_answer_as_one(
    classifier: EmotionClassifier, images: list[NDArray[np.uint8]], count: int
) -> None:
    alone = [ask(classifier, images, number) for number in range(len(images))]
    assert {rows[0].status for rows in alone} == {"ok"}
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda n: ask(classifier, images, n), range(8 * count))
        for number, rows in enumerate(answers):
            assert rows == alone[number % len(images)]


def test_a_classifier_is_copied_and_pickled_after_a_detection(
    classifier: EmotionClassifier, images: list[NDArray[np.uint8]]
) -> None:
    expected = ask(classifier, images, 0)
    pickled = pickle.dumps(classifier)
    weights = sum(p.numel() for p in classifier.model.backbone.parameters())
    assert len(pickled) < 4 * weights + 100_000  # without the detector's seven megabytes
    for copied in (copy.deepcopy(classifier), pickle.loads(pickled)):
        assert ask(copied, images, 0) == expected
        assert ask(copied, images, 1) == ask(classifier, images, 1)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_other_processes_answer_as_this_one(
    classifier: EmotionClassifier, images: list[NDArray[np.uint8]], method: str
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    alone = [ask(classifier, images, number) for number in range(2)]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, context) as processes:
        answers = [processes.submit(ask, classifier, images, number) for number in range(2)]
        assert [answer.result(timeout=120) for answer in answers] == alone
