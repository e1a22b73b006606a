from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from emodc.corruptions import SEQUENCES, flip_rate, sequence
from emodc.data.synthetic.dataset import read_synthetic

CENTERED = ("brightness", "translate", "rotate", "scale", "shear")
FRESH = ("gaussian_noise", "shot_noise")
FACE = read_synthetic(count=1, size=50, color=True).reader(0)


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_is_a_function_of_its_arguments(name: str) -> None:
    one = sequence(FACE, name, 6, seed=1, index=2)
    assert one.shape == (6, *FACE.shape)
    assert one.dtype == np.uint8
    assert (one == sequence(FACE, name, 6, seed=1, index=2)).all()
    for other in (sequence(FACE, name, 6, 3, 2), sequence(FACE, name, 6, 1, 3)):
        assert (one == other).all() == (name not in (*FRESH, "spatter"))


@pytest.mark.parametrize("name", SEQUENCES)
def test_any_image_will_do_and_gray_stays_gray(name: str) -> None:
    for shape in ((1, 1), (3, 8), (20, 16)):
        gray = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        rgb = np.repeat(gray[:, :, None], 3, axis=2)
        frames = sequence(gray, name, 4)
        assert frames.shape == (4, *shape)
        assert (sequence(rgb, name, 4) == frames[:, :, :, None]).all()


@pytest.mark.parametrize("name", sorted(set(SEQUENCES) - set(FRESH)))
def test_neighbors_in_time_are_alike(name: str) -> None:
    frames = sequence(FACE, name)
    steps = [distance(one, other) for one, other in pairwise(frames)]
    assert max(steps) < distance(frames[0], frames[-1]) / 2


@pytest.mark.parametrize("name", CENTERED)
def test_the_middle_frame_is_the_image_and_a_longer_sequence_only_goes_further(name: str) -> None:
    short, long = sequence(FACE, name, 6), sequence(FACE, name, 10)
    assert (short[3] == FACE).all()
    assert (long[2:8] == short).all()


@pytest.mark.parametrize("name", FRESH)
def test_noisy_frames_follow_the_image_and_differ(name: str) -> None:
    frames = sequence(FACE, name, 5)
    assert (frames[0] == FACE).all()
    between = [distance(one, other) for one, other in pairwise(frames[1:])]
    assert min(between) > distance(frames[1], FACE)


def test_translation_is_one_percent_of_the_width_a_frame_to_the_right() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (20, 100), dtype=np.uint8)
    frames = sequence(wide, "translate", 8)
    for i in range(1, 8):
        assert (frames[i, :, 4:-4] == frames[i - 1, :, 3:-5]).all()


def test_rotation_is_one_degree_a_frame() -> None:
    place = np.stack(np.meshgrid(*[np.arange(101) - 50.0] * 2, indexing="ij"))  # row, column
    bar = (255 * np.exp(-((place[0] / 6) ** 2) - (place[1] / 30) ** 2)).astype(np.uint8)
    for i, frame in enumerate(sequence(bar, "rotate", 20)):
        rows, columns = place
        slope = (frame * rows * columns).sum() / (frame * (columns**2 - rows**2)).sum()
        assert abs(np.degrees(np.arctan(2 * slope)) / 2) == pytest.approx(abs(i - 10), abs=0.3)


def test_answers_that_never_change_never_flip_and_alternating_ones_always_do() -> None:
    same, alternating = np.full((3, 7), 4), np.tile([0, 1], (3, 4))
    for name in SEQUENCES:
        assert flip_rate(same, name) == 0
    assert flip_rate(alternating, "rotate") == 1
    assert flip_rate(alternating, "shot_noise") == pytest.approx(4 / 7)
    assert flip_rate(np.array([[0, 0, 1, 1, 1]]), "scale") == pytest.approx(1 / 4)


def test_the_order_of_frames_counts_only_where_there_is_one() -> None:
    answers = np.random.default_rng(0).integers(0, 3, (20, 12))
    shuffled = answers.copy()
    shuffled[:, 1:] = shuffled[:, :0:-1]
    assert flip_rate(answers, "gaussian_noise") == flip_rate(shuffled, "gaussian_noise")
    assert flip_rate(answers, "rotate") != flip_rate(shuffled, "rotate")


def test_what_is_not_known_is_refused() -> None:
    for call in (
        lambda: sequence(FACE, "jpeg"),
        lambda: flip_rate(np.zeros((1, 2), dtype=np.int64), "jpeg"),
    ):
        with pytest.raises(ValueError, match="unknown sequence 'jpeg'; known are gaussian_noise"):
            call()
    for frames in (1, 61):
        with pytest.raises(ValueError, match=f"frames is {frames}, but must be 2 to 60"):
            sequence(FACE, "scale", frames)
    for shape in ((0, 5), (5, 1), (5,)):
        with pytest.raises(ValueError, match="a flip rate needs"):
            flip_rate(np.zeros(shape, dtype=np.int64), "scale")
