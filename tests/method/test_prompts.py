import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emodc.method.prompts import draw_negative, non_class_prompt, null_prompt, other_classes

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
