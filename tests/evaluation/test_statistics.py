import pytest
import torch

from emodc.evaluation.metrics import accuracy_interval, mean_class_accuracy
from emodc.evaluation.statistics import (
    corruption_error,
    mean_class_share,
    mean_interval,
    paired_difference,
    relative_corruption_error,
    share_right,
)

# Error rates of a model and of a reference under two corruptions, clean 0.1 and 0.2.
OURS = {"noise": {1: 0.2, 3: 0.4}, "blur": {1: 0.1, 3: 0.3}}
THEIRS = {"noise": {1: 0.4, 3: 0.8}, "blur": {1: 0.3, 3: 0.5}}


def test_corruption_errors_by_hand() -> None:
    # (0.6 / 1.2 + 0.4 / 0.8) / 2, and (0.4 / 0.8 + 0.2 / 0.4) / 2
    assert corruption_error(OURS, THEIRS) == pytest.approx(0.5)
    assert relative_corruption_error(OURS, 0.1, THEIRS, 0.2) == pytest.approx(0.5)
    # Corruptions count alike, however many errors each makes.
    hard = OURS | {"blur": {1: 0.6, 3: 0.6}}
    assert corruption_error(hard, THEIRS) == pytest.approx((0.5 + 1.5) / 2)


def test_a_model_is_its_own_measure() -> None:
    assert corruption_error(THEIRS, THEIRS) == pytest.approx(1)
    assert relative_corruption_error(THEIRS, 0.2, THEIRS, 0.2) == pytest.approx(1)


def test_what_means_nothing_is_none() -> None:
    perfect = {"noise": {1: 0.0, 3: 0.0}, "blur": {1: 0.1, 3: 0.1}}
    assert corruption_error(OURS, perfect) is None
    assert relative_corruption_error(OURS, 0.1, perfect, 0.1) is None


def test_shares_of_whole_numbers_are_plain_accuracies() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (60,), generator=g)
    predicted = torch.where(torch.rand(60, generator=g) < 0.6, labels, (labels + 1) % 5)
    right = (predicted == labels).double()
    assert mean_class_share(right, labels) == pytest.approx(mean_class_accuracy(predicted, labels))
    found = share_right(right)
    assert found["accuracy"] == pytest.approx(float(right.mean()))
    assert found["accuracy_ci95"] == list(accuracy_interval(int(right.sum()), 60))


def test_pairing_takes_out_what_both_share() -> None:
    g = torch.Generator().manual_seed(0)
    difficulty = torch.rand(2000, generator=g)
    ours, theirs = (difficulty < 0.6).double(), (difficulty < 0.5).double()
    found = paired_difference(ours, theirs)
    assert found["difference"] == pytest.approx(float((ours - theirs).mean()))
    low, high = found["difference_ci95"]  # type: ignore[misc]
    assert low < 0.1 < high
    # Unpaired, the standard error would be about sqrt(2 * 0.25 / N).
    assert high - low < 0.7 * 2 * 1.96 * (0.5 / 2000) ** 0.5
    same = paired_difference(ours, ours)
    assert same == {"difference": 0.0, "difference_ci95": [0.0, 0.0]}


def test_intervals_of_means_cover() -> None:
    g = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        low, high = mean_interval(torch.rand(50, generator=g)) or [0.0, 0.0]
        held += low < 0.5 < high
    assert 0.92 < held / 400 < 0.98
    assert mean_interval(torch.ones(1)) is None
