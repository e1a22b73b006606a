import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emodc.data import FaceData
from emodc.data.synthetic.dataset import DEFAULT_COUNTS, read_synthetic
from emodc.labels import BASIC7


def pixels(data: FaceData) -> NDArray[np.float64]:
    """Return (N, H * W), each image with zero mean and unit variance."""
    flat = np.stack([data.image(i) for i in range(len(data))]).reshape(len(data), -1)
    centered = flat - flat.mean(axis=1, keepdims=True)
    scaled: NDArray[np.float64] = centered / centered.std(axis=1, keepdims=True)
    return scaled


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_default_splits_are_balanced(split: str) -> None:
    data = read_synthetic().split(split)
    assert len(data) == DEFAULT_COUNTS[split]
    assert data.label_set is BASIC7
    assert set(data.class_counts().tolist()) == {DEFAULT_COUNTS[split] // 7}
    assert len(set(data.ids)) == len(data)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    index=st.integers(0, 30),
    split=st.sampled_from(["train", "validation", "test"]),
)
def test_a_image_depends_on_seed_split_and_index_alone(seed: int, index: int, split: str) -> None:
    one, other = (
        read_synthetic(count=31, seed=seed).split(split),
        read_synthetic(count=50, seed=seed).split(split),
    )
    other.image(49)
    np.testing.assert_array_equal(one.image(index), other.image(index))
    np.testing.assert_array_equal(one.labels, other.labels[:31])
    assert list(one.ids) == list(other.ids)[:31]


def test_no_image_is_drawn_twice() -> None:
    parts = [read_synthetic(count=14).split(split) for split in ("train", "validation", "test")]
    parts.append(read_synthetic(count=14, seed=1).split("train"))
    seen = {part.image(i).tobytes() for part in parts for i in range(14)}
    assert len(seen) == 4 * 14
    assert len({part.fingerprint() for part in parts}) == 4


def test_what_a_reader_does_to_a_image_stays_with_the_reader() -> None:
    data = read_synthetic(count=7).split("test")
    data.image(3)[:] = 0
    assert data.image(3).any()
    with pytest.raises(IndexError):
        data.image(7)


@pytest.mark.parametrize("size", [16, 48, 100])
def test_size_and_color_change_the_form_and_not_the_face(size: int) -> None:
    gray = read_synthetic(count=7, size=size).split("test").image(2)
    color = read_synthetic(count=7, size=size, color=True).split("test").image(2)
    assert gray.dtype == color.dtype == np.uint8
    assert gray.shape == (size, size)
    assert color.shape == (size, size, 3)
    luminance = color @ np.array([0.299, 0.587, 0.114])
    assert np.corrcoef(luminance.ravel(), gray.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"seed": 2**64}, {"size": 8}])
def test_a_number_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"synthetic: {next(iter(wrong))} is "):
        read_synthetic(**wrong).split("train")  # type: ignore[arg-type]


def test_classes_can_be_learned_but_not_from_a_single_pixel() -> None:
    train, test = read_synthetic(count=350).split("train"), read_synthetic(count=140).split("test")
    known, new = pixels(train), pixels(test)
    truth = np.eye(7)[train.labels]

    # Ridge regression, in its dual form: twice chance (1/7) from few images.
    gram = known @ known.T
    weights = known.T @ np.linalg.solve(gram + 1000.0 * np.eye(len(gram)), truth - 1 / 7)
    assert ((new @ weights).argmax(axis=1) == test.labels).mean() > 2 / 7

    # The best single pixel, read by the nearest of its seven class means.
    means = truth.T @ known / truth.sum(axis=0)[:, None]
    nearest = np.abs(new[:, None, :] - means).argmin(axis=1)
    assert (nearest == test.labels[:, None]).mean(axis=0).max() < 0.36
