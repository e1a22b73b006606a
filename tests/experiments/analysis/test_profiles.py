import pytest
import torch
from torch import Tensor

from emodc.experiments.analysis.profiles import class_profiles, profiles
from tests.experiments.analysis.conftest import separated


def test_a_class_that_is_harder_and_better_told(difficulty: Tensor, labels: Tensor) -> None:
    even = difficulty.mean(dim=0).expand(24, -1)
    harder = torch.where((labels == 1).unsqueeze(1), 2 * even, even)
    share = torch.where(labels == 2, 0.5, 0.1).view(-1, 1, 1)
    found = class_profiles(separated(harder, labels, share))
    assert found["happiness"]["d_p_to_all"] == pytest.approx([1.5] * 10, rel=1e-5)
    assert found["neutral"]["d_p_to_all"] == pytest.approx([0.75] * 10, rel=1e-5)
    assert found["surprise"]["relative_gap"] == pytest.approx([0.5] * 10, rel=1e-4)
    assert found["neutral"]["relative_gap"] == pytest.approx([0.1] * 10, rel=1e-4)


def test_a_class_without_faces_is_left_out(difficulty: Tensor) -> None:
    found = class_profiles(separated(difficulty, torch.arange(24) % 2, 0.1))
    assert {name: profile["images"] for name, profile in found.items()} == {
        "neutral": 12,
        "happiness": 12,
    }


def test_many_draws_are_averaged(labels: Tensor) -> None:
    difficulty = torch.arange(1, 101).float().expand(24, 100)
    exhibit = profiles([separated(difficulty, labels, 0.1)])
    profile = exhibit.statistics["model"]["neutral"]
    assert profile["d_p"] == pytest.approx([5 * n + 3 for n in range(20)])
    assert profile["t"] == pytest.approx([50 * n + 25 for n in range(20)])
    assert len(exhibit.rows) == 3 * 20
