from collections.abc import Callable

import numpy as np
import pytest

from emodc.corruptions.obstruction import Liquid, cover_eyes, cover_mouth, drops, splash
from emodc.corruptions.pixels import Pixels
from emodc.faces.geometry import FER2013_GEOMETRY, CropGeometry

Cover = Callable[[Pixels, float, CropGeometry], Pixels]

MUD = Liquid(2.0, 0.25, 0.8, (0.4, 0.3, 0.1))


def test_liquid_covers_its_share_and_is_opaque_in_the_middle_of_its_drops() -> None:
    x = np.ones((200, 200, 3), dtype=np.float32)
    wet = splash(x, drops(x, MUD.size, np.random.default_rng(0)), MUD)
    assert (wet < 1).all(axis=2).mean() == pytest.approx(MUD.cover, abs=0.01)
    darkest = wet.reshape(-1, 3).min(axis=0)
    np.testing.assert_allclose(darkest, 0.2 + 0.8 * np.array(MUD.color), atol=1e-5)


def test_on_a_gray_image_liquid_has_its_luminance() -> None:
    gray = np.full((50, 50, 1), 0.7, dtype=np.float32)
    field = drops(gray, 2.0, np.random.default_rng(0))
    color = splash(np.repeat(gray, 3, axis=2), field, MUD)
    np.testing.assert_allclose(
        splash(gray, field, MUD)[:, :, 0], color @ np.array([0.299, 0.587, 0.114]), atol=1e-5
    )


def test_larger_drops_are_smoother() -> None:
    x = np.ones((100, 100, 1), dtype=np.float32)
    steps = []
    for size in (1.0, 2.0, 4.0):
        field = drops(x, size, np.random.default_rng(0))
        steps.append(np.abs(np.diff(field, axis=0)).mean() / field.std())
    assert (np.diff(steps) < 0).all()


@pytest.mark.parametrize("cover", [cover_eyes, cover_mouth])
@pytest.mark.parametrize("shape", [(100, 100), (12, 7), (1, 1)])
def test_a_wider_reach_covers_more_whatever_the_size(cover: Cover, shape: tuple[int, int]) -> None:
    x = np.ones((*shape, 1), dtype=np.float32)
    left = [float(cover(x, reach, FER2013_GEOMETRY).mean()) for reach in (0.1, 0.2, 0.3, 0.5)]
    assert (np.diff([1.0, *left]) < 0).all()


def test_eyes_and_mouth_are_covered_as_far_as_stated() -> None:
    x = np.ones((1000, 1000, 1), dtype=np.float32)
    left, right, _, left_mouth, right_mouth = FER2013_GEOMETRY.landmarks
    distance, width = right[0] - left[0], right_mouth[0] - left_mouth[0]
    eyes = 1 - cover_eyes(x, 0.4, FER2013_GEOMETRY).mean()
    assert eyes == pytest.approx(2 * 0.7 * (2 * 0.4 * distance) ** 2, rel=1e-3)
    mouth = 1 - cover_mouth(x, 0.4, FER2013_GEOMETRY).mean()
    assert mouth == pytest.approx(0.6 * (2 * 0.4 * width) ** 2, rel=1e-3)
