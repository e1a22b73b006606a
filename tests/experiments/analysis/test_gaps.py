import pytest
import torch
from torch import Tensor

from emodc.experiments.analysis.gaps import gap_statistics, gaps, quartile_of
from tests.experiments.analysis.conftest import separated


def test_quartiles_are_fourths_in_the_order_of_difficulty() -> None:
    difficulty = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    quartile = quartile_of(difficulty)
    assert quartile.flatten().bincount().tolist() == [6, 6, 6, 6]
    for q in range(3):
        assert difficulty[quartile == q].max() < difficulty[quartile == q + 1].min()


@pytest.mark.parametrize("share", [0.2, -0.2])
def test_a_gap_in_proportion_has_one_relative_gap(
    share: float, difficulty: Tensor, labels: Tensor
) -> None:
    rows = gap_statistics(separated(difficulty, labels, share), quartile_of(difficulty))
    for row in rows:
        assert row["relative_gap"]["median"] == pytest.approx(share, rel=1e-4)
        assert row["gap"]["median"] == pytest.approx(share * row["median_d_p"], rel=0.2)
        assert row["share_below_zero"] == (share < 0)
        assert row["gap"]["q05"] <= row["gap"]["q25"] <= row["gap"]["median"]
        assert row["gap"]["median"] <= row["gap"]["q75"] <= row["gap"]["q95"]
    assert abs(rows[3]["gap"]["median"]) > 5 * abs(rows[0]["gap"]["median"])


def test_all_models_are_parted_by_the_first_one(difficulty: Tensor, labels: Tensor) -> None:
    first = separated(difficulty, labels, 0.1, name="first")
    turned = separated(difficulty.flip(1), labels, 0.1, name="turned")
    medians = [row["median_d_p"] for row in gaps([first, turned]).statistics["turned"]]
    assert medians == sorted(medians, reverse=True)


def test_the_data_are_the_boxes(difficulty: Tensor, labels: Tensor) -> None:
    exhibit = gaps([separated(difficulty, labels, 0.1, name=name) for name in ("a", "b")])
    assert [row[:3] for row in exhibit.rows[:4]] == [["a", "gap", q] for q in (1, 2, 3, 4)]
    assert len(exhibit.rows) == 2 * 2 * 4
    boxes = exhibit.figure.axes[0].patches
    assert len({(box.get_hatch(), box.get_facecolor()) for box in boxes}) == 2
