import numpy as np
import pytest
import torch

from emodc.data import open_data
from emodc.evaluation.metrics import calibration_error, reliability
from emodc.evaluation.mistakes import Answered, examples, worst_mistakes

P = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [0.99, 0.01]]).double()
LABELS = torch.tensor([0, 1, 1, 0, 1])


@pytest.fixture(scope="module")
def answered() -> Answered:
    data = open_data("synthetic:count=14,size=16", "test")
    return Answered(data, torch.tensor([0, 2, 3, 5, 7]), LABELS, P, ("a", "b"))


def test_the_surest_mistake_is_the_worst(answered: Answered) -> None:
    assert worst_mistakes(answered, 5) == [4, 1]
    assert worst_mistakes(answered, 1) == [4]


def test_an_example_is_the_surest_of_its_kind(answered: Answered) -> None:
    assert examples(answered) == {(0, 0): 0, (1, 0): 4, (1, 1): 2}


def test_rows_are_those_of_the_images_that_could_be_read(answered: Answered) -> None:
    assert answered.name(1) == answered.data.ids[2]
    np.testing.assert_array_equal(answered.image(3), answered.data.image(5))


def test_the_diagram_has_the_bins_of_the_calibration_error() -> None:
    bins = reliability(P, LABELS, bins=2)
    assert [images for images, _, _ in bins] == [3, 2]
    _, confidence, right = bins[0]
    assert confidence == pytest.approx((0.6 + 0.7 + 0.8) / 3)
    assert right == pytest.approx(2 / 3)
    off = sum(n * abs(right - confidence) for n, confidence, right in bins) / 5
    assert calibration_error(P, LABELS, bins=2) == pytest.approx(off)
