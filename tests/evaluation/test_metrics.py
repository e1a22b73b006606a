import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emodc.evaluation.metrics import (
    accuracy,
    accuracy_interval,
    calibration_error,
    confusion_matrix,
    macro_f1,
    mean_class_accuracy,
    negative_log_likelihood,
    per_class,
    summarize,
)

# Worked by hand: 4 images of class 0, 2 of class 1, none of class 2.
LABELS = torch.tensor([0, 0, 0, 0, 1, 1])
PREDICTED = torch.tensor([0, 0, 0, 1, 1, 2])


def some_probabilities(images: int, classes: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator, dtype=torch.float64)
    return torch.softmax(2 * logits, dim=1)


def test_figures_of_a_case_worked_by_hand() -> None:
    confusion = confusion_matrix(PREDICTED, LABELS, 3)
    assert confusion.tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert accuracy(PREDICTED, LABELS) == pytest.approx(4 / 6)
    assert mean_class_accuracy(PREDICTED, LABELS) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert macro_f1(confusion) == pytest.approx((6 / 7 + 2 / 4 + 0) / 3)
    assert per_class(confusion) == [
        {"precision": 1.0, "recall": 0.75, "f1": 6 / 7, "support": 4},
        {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0},
    ]


def test_a_class_that_never_occurs_counts_nowhere() -> None:
    both = torch.tensor([0, 1])
    confusion = confusion_matrix(both, both, 3)
    assert per_class(confusion)[2] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert macro_f1(confusion) == mean_class_accuracy(both, both) == 1.0


@pytest.mark.parametrize(
    ("correct", "images", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_the_interval_is_wilsons(correct: int, images: int, low: float, high: float) -> None:
    assert accuracy_interval(correct, images) == pytest.approx((low, high), abs=5e-5)


@settings(deadline=None)
@given(st.integers(1, 5000), st.data())
def test_the_interval_holds_the_share_and_stays_inside(images: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, images))
    low, high = accuracy_interval(correct, images)
    assert 0 <= low <= correct / images + 1e-12
    assert correct / images - 1e-12 <= high <= 1
    assert high - low < 2.2 / math.sqrt(images)


def test_the_likelihood_is_in_nats_and_survives_underflow() -> None:
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    expected = -(math.log(0.5) + math.log(0.1)) / 2
    assert negative_log_likelihood(p, labels) == pytest.approx(expected)
    certain = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert 700 < negative_log_likelihood(certain, torch.tensor([1])) < 709


def test_the_calibration_error_of_one_level_is_its_gap() -> None:
    p = torch.tensor([[0.8, 0.2]], dtype=torch.float64).repeat(40, 1)
    labels = torch.tensor([0] * 20 + [1] * 20)
    assert calibration_error(p, labels) == pytest.approx(0.3)


def test_the_calibration_bins_hold_equally_many_images() -> None:
    confidence = torch.linspace(0.6, 0.9, 4, dtype=torch.float64)
    p = torch.stack([confidence, 1 - confidence], dim=1)
    labels = torch.tensor([0, 1, 0, 0])
    # Two bins of two images: mean confidence 0.65 against 1/2, and 0.85 against 1.
    assert calibration_error(p, labels, bins=2) == pytest.approx((0.15 + 0.15) / 2)


def test_a_calibrated_posterior_has_little_calibration_error_and_a_sharper_one_has_much() -> None:
    p = some_probabilities(10_000, 5, seed=1)
    labels = torch.multinomial(p, 1, generator=torch.Generator().manual_seed(2)).squeeze(1)
    assert calibration_error(p, labels) < 0.02
    sharper = p**4 / (p**4).sum(dim=1, keepdim=True)
    assert calibration_error(sharper, labels) > 0.1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 100))
def test_no_figure_depends_on_the_order_of_the_images(images: int, classes: int, seed: int) -> None:
    p = (some_probabilities(images, classes, seed) * 4).round()  # coarse: many equal rows
    p = (p + 1) / (p + 1).sum(dim=1, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    order = torch.randperm(images, generator=generator)
    names = [f"class {k}" for k in range(classes)]
    one, other = summarize(p, labels, names), summarize(p[order], labels[order], names)
    for key in ("nll", "ece", "accuracy", "mean_class_accuracy"):
        assert one.pop(key) == pytest.approx(other.pop(key), abs=1e-12)
    assert one == other


def test_the_summary_agrees_with_itself() -> None:
    p, names = some_probabilities(200, 3, seed=5), ["a", "b", "c"]
    labels = torch.tensor([0] * 120 + [1] * 50 + [2] * 30)
    summary = summarize(p, labels, names)
    assert summary["n_images"] == 200
    assert summary["chance"] == pytest.approx(1 / 3)
    assert summary["majority_class_floor"] == pytest.approx(0.6)
    assert summary["labels"] == list(summary["per_class"]) == names
    assert [sum(row) for row in summary["confusion"]] == [120, 50, 30]
    low, high = summary["accuracy_ci95"]
    assert low < summary["accuracy"] < high
    recalls = [row["recall"] for row in summary["per_class"].values()]
    assert summary["mean_class_accuracy"] == pytest.approx(sum(recalls) / 3)
