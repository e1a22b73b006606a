import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emodc.data.subset import stratified_subset

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=120)


@settings(deadline=None)
@given(label_lists, st.integers(1, 130), st.integers(0, 2**64 - 1))
def test_a_subset_keeps_the_proportions(values: list[int], count: int, seed: int) -> None:
    labels = np.array(values, dtype=np.int64)
    chosen = stratified_subset(labels, count, seed)
    assert len(chosen) == min(count, len(labels))
    assert (np.diff(chosen) > 0).all()
    sizes = np.bincount(labels, minlength=7)
    given_sizes = np.bincount(labels[chosen], minlength=7)
    if count >= (sizes > 0).sum():
        assert ((given_sizes > 0) == (sizes > 0)).all()
    # Raising rare classes to one image takes at most one from each of the others.
    ideal = min(1.0, count / len(labels)) * sizes
    assert (abs(given_sizes - ideal) < 1 + (sizes > 0).sum()).all()


def test_large_classes_are_within_one_image_of_their_share() -> None:
    labels = np.repeat(np.arange(4), [500, 300, 150, 50])
    chosen = stratified_subset(labels, 77, seed=0)
    assert np.abs(np.bincount(labels[chosen]) - 77 * np.array([0.5, 0.3, 0.15, 0.05])).max() < 1


def test_a_rare_class_is_there() -> None:
    labels = np.array([0] * 900 + [1] * 99 + [2])
    assert np.bincount(labels[stratified_subset(labels, 10, seed=3)]).tolist() == [8, 1, 1]


def test_the_seed_decides_the_choice() -> None:
    labels = np.repeat(np.arange(3), 100)
    same = stratified_subset(labels, 30, seed=1)
    assert same.tolist() == stratified_subset(labels, 30, seed=1).tolist()
    assert same.tolist() != stratified_subset(labels, 30, seed=2).tolist()


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        stratified_subset(np.array([0, 1]), 0, seed=0)
