import pytest
import torch
from torch import Tensor

from emodc.experiments.study.compare import mcnemar, paired_bootstrap


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
