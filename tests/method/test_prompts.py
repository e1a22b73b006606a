import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emodc.method.prompts import (
    draw_frequent_negative,
    draw_negative,
    negative_weights,
    non_class_prompt,
    null_prompt,
    other_classes,
)

classes = st.integers(2, 12)


@settings(deadline=None)
@given(classes, st.data())
def test_the_others_are_all_but_the_true_class(k: int, data: st.DataObject) -> None:
    c_p = data.draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=8))
    rows = other_classes(torch.tensor(c_p), k).tolist()
    assert rows == [[c for c in range(k) if c != true] for true in c_p]


@settings(deadline=None)
@given(classes, st.floats(0, 1, exclude_max=True, width=32), st.data())
def test_a_negative_is_another_class(k: int, u: float, data: st.DataObject) -> None:
    c_p = data.draw(st.integers(0, k - 1))
    drawn = draw_negative(torch.tensor([c_p]), k, torch.tensor([u]))
    assert drawn.shape == (1, 1)
    assert drawn.item() in set(range(k)) - {c_p}


def test_negatives_are_uniform_over_the_others() -> None:
    u = (torch.arange(6000) + 0.5) / 6000
    drawn = draw_negative(torch.full((6000,), 2), 7, u).squeeze(1)
    counts = torch.bincount(drawn, minlength=7).tolist()
    assert counts[2] == 0
    assert [n for c, n in enumerate(counts) if c != 2] == pytest.approx([1000] * 6, abs=1)


@given(classes)
def test_the_two_prompts_without_a_class_come_after_the_classes(k: int) -> None:
    assert sorted([*range(k), null_prompt(k), non_class_prompt(k)]) == list(range(k + 2))


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=9), st.floats(0, 1, width=32), st.data())
def test_a_frequent_negative_is_another_class_that_occurs(
    counts: list[int], u: float, data: st.DataObject
) -> None:
    counts[0], counts[-1] = counts[0] + 1, counts[-1] + 1  # two classes must occur
    c_p = data.draw(st.sampled_from([k for k, n in enumerate(counts) if n]))
    frequency = torch.tensor(counts).double() / sum(counts)
    drawn = int(draw_frequent_negative(torch.tensor([c_p]), frequency, torch.tensor([u])))
    assert drawn != c_p
    assert counts[drawn] > 0


@pytest.mark.parametrize("drawn", [True, False])
def test_pairs_of_classes_count_alike_both_ways(drawn: bool) -> None:
    frequency = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    k, quantiles = len(frequency), 40_000
    u = (torch.arange(quantiles) + 0.5) / quantiles
    pairs = torch.zeros(k, k, dtype=torch.float64)
    for true in range(k):
        c_p = torch.full((quantiles if drawn else 1,), true)
        c_n = draw_frequent_negative(c_p, frequency, u) if drawn else other_classes(c_p, k)
        weights = negative_weights(c_p, c_n, frequency, drawn=drawn).double()
        met = torch.zeros(len(c_p), k, dtype=torch.float64).scatter_(1, c_n, weights)
        pairs[true] = frequency[true] * met.mean(dim=0) / c_n.shape[1]
    expected = frequency.outer(frequency) / (1 - frequency.square().sum())
    torch.testing.assert_close(pairs, expected.fill_diagonal_(0), atol=1e-4, rtol=0)
    assert float(pairs.sum()) == pytest.approx(1.0, abs=1e-3)  # as much in all as if uniform
