import pytest
import torch
from torch import Tensor

from emodc.experiments.analysis.confusion import confusion
from tests.experiments.analysis.conftest import make, separated


def test_a_model_that_knows_and_one_that_always_says_the_same(
    difficulty: Tensor, labels: Tensor
) -> None:
    same = torch.ones(24, 3, 10)
    same[:, 1] = 0.5
    exhibit = confusion(
        [separated(difficulty, labels, 0.2, name="knows"), make(same, labels, name="says happy")]
    )
    knows, says = exhibit.statistics["knows"], exhibit.statistics["says happy"]
    assert knows["confusion"] == [[8, 0, 0], [0, 8, 0], [0, 0, 8]]
    assert says["confusion"] == [[0, 8, 0], [0, 8, 0], [0, 8, 0]]
    titles = [axes.get_title() for axes in exhibit.figure.axes[:2]]
    assert titles == [
        "knows\nmean class accuracy 100.0 %",
        "says happy\nmean class accuracy 33.3 %",
    ]


def test_rows_of_a_matrix_are_shares_of_a_class(difficulty: Tensor, labels: Tensor) -> None:
    few = labels.clone()
    few[labels == 2] = 0  # nobody is surprised
    exhibit = confusion([separated(difficulty, few, 0.1)])
    shares: dict[str, float] = {}
    for _, truth, _, _, share in exhibit.rows:
        shares[str(truth)] = shares.get(str(truth), 0) + float(share)
    assert shares == pytest.approx({"neutral": 1, "happiness": 1, "surprise": 0})
