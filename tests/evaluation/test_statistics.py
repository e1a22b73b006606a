import pytest
import torch
from torch import Tensor

from emodc.evaluation.metrics import accuracy_interval, mean_class_accuracy
from emodc.evaluation.statistics import (
    corruption_error,
    mcnemar,
    mean_class_share,
    mean_interval,
    paired_bootstrap,
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


def answers(text: str) -> Tensor:
    return torch.tensor([letter == "1" for letter in text])


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        # Three images differ, all ours: 2 * (1/2)^3.
        ("1111000", "1000000", (3, 0, 0.25)),
        # One against four: 2 * (C(5,0) + C(5,1)) / 2^5.
        ("10000", "01111", (1, 4, 0.375)),
        # One against one: as likely as can be.
        ("10", "01", (1, 1, 1.0)),
        ("101", "101", (0, 0, 1.0)),
    ],
)
def test_mcnemar_by_hand(ours: str, theirs: str, expected: tuple[int, int, float]) -> None:
    found = mcnemar(answers(ours), answers(theirs))
    assert (found["only_ours"], found["only_theirs"]) == expected[:2]
    assert found["p"] == pytest.approx(expected[2])


def test_the_difference_is_ours_minus_theirs_over_images_and_seeds() -> None:
    ours = torch.stack([answers("1110"), answers("1100")])
    theirs = torch.stack([answers("1000"), answers("1001")])
    found = paired_bootstrap(ours, theirs)
    assert found["difference"] == pytest.approx((0 + 1 + 0.5 - 0.5) / 4)


def test_swapping_two_arms_flips_the_sign() -> None:
    rng = torch.Generator().manual_seed(0)
    ours, theirs = (torch.rand(2, 60, generator=rng) < p for p in (0.8, 0.5))
    found, swapped = paired_bootstrap(ours, theirs), paired_bootstrap(theirs, ours)
    assert isinstance(found["difference"], float)
    assert found["difference"] > 0
    assert swapped["difference"] == pytest.approx(-found["difference"])
    low, high = found["difference_ci95"]  # type: ignore[misc]
    assert swapped["difference_ci95"] == pytest.approx([-high, -low])
    assert low < found["difference"] < high
    one, other = mcnemar(ours[0], theirs[0]), mcnemar(theirs[0], ours[0])
    assert one["p"] == other["p"]
    assert (one["only_ours"], one["only_theirs"]) == (other["only_theirs"], other["only_ours"])


def test_the_interval_is_that_of_a_resampled_mean() -> None:
    """Of 100 images 20 are gained: the mean of resampled images is binomial, sd 0.04."""
    ours = torch.arange(100).unsqueeze(0) < 20
    low, high = paired_bootstrap(ours, torch.zeros_like(ours))["difference_ci95"]  # type: ignore[misc]
    assert low == pytest.approx(0.20 - 1.96 * 0.04, abs=0.011)
    assert high == pytest.approx(0.20 + 1.96 * 0.04, abs=0.011)


def test_seeds_on_one_image_do_not_count_as_more_images() -> None:
    ours, theirs = answers("110100").unsqueeze(0), answers("010001").unsqueeze(0)
    once = paired_bootstrap(ours, theirs)
    assert paired_bootstrap(ours.repeat(5, 1), theirs.repeat(5, 1)) == once
