import pytest
import torch
from torch import Tensor

from emodc.experiments.analysis.steps import cumulative_accuracies, single_accuracies, steps
from tests.experiments.analysis.conftest import make, separated

# Of two images of class 0, the first draw is right about both and the second about none, by more.
ERRORS = torch.tensor([[[1.0, 5.0], [2.0, 3.0]], [[1.0, 4.0], [4.0, 3.0]]])
LABELS = torch.tensor([0, 0])
EQUAL = torch.ones(2, dtype=torch.float64)


def test_single_draws() -> None:
    assert single_accuracies(ERRORS, LABELS).tolist() == [1, 0]


def test_draws_add_up_in_their_order() -> None:
    forward, backward = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert cumulative_accuracies(ERRORS, LABELS, EQUAL, forward).tolist() == [1, 0.5]
    assert cumulative_accuracies(ERRORS, LABELS, EQUAL, backward).tolist() == [0, 0.5]


def test_weights_count() -> None:
    weights = torch.tensor([1.8, 0.2], dtype=torch.float64)
    assert cumulative_accuracies(ERRORS, LABELS, weights, torch.tensor([1, 0])).tolist() == [0, 1]


def test_all_draws_give_the_answer_of_the_classifier() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 3
    errors = torch.rand(24, 3, 10, generator=generator)
    weights = torch.linspace(0.5, 1.5, 10, dtype=torch.float64)
    model = make(errors, labels, weights=weights)
    found = steps([model]).statistics["models"]["model"]
    answered = float((model.probabilities.argmax(dim=1) == labels).double().mean())
    assert found["even"][-1] == found["least_noise"][-1] == pytest.approx(answered)


def test_the_data_are_the_curves(difficulty: Tensor, labels: Tensor) -> None:
    exhibit = steps([separated(difficulty, labels, -0.2, name=name) for name in ("a", "b")])
    assert [row[0] for row in exhibit.rows] == ["a"] * 10 + ["b"] * 10
    assert [row[2] for row in exhibit.rows[:10]] == exhibit.statistics["t"]
    assert all(row[3:] == [0, 0, 0] for row in exhibit.rows)
    assert exhibit.statistics["commonest_class"] == pytest.approx(1 / 3)
    styles = {line.get_linestyle() for line in exhibit.figure.axes[0].lines[:2]}
    assert len(styles) == 2  # told apart without colors
