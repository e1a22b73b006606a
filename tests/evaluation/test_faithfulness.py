from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from emodc.data.synthetic.dataset import CHANGES, draw_change
from emodc.evaluation.faithfulness import (
    SHARES,
    blurred,
    center_map,
    changed_region,
    curves,
    points_at,
    random_map,
    rank_correlation,
    strongest,
)
from emodc.faces.arrays import Pixels

CROP: Pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
CORNER = np.zeros((16, 16))
CORNER[:6, :6] = 1.0


def sees_the_corner(crops: Sequence[Pixels]) -> NDArray[np.float64]:
    """A classifier whose answer is how much of the corner is as it was."""
    same = [np.mean((crop == CROP)[:6, :6]) for crop in crops]
    return np.array([[p, 1 - p] for p in same])


def test_the_map_of_what_is_looked_at_beats_all_others() -> None:
    maps = {
        "right": CORNER,
        "wrong": -CORNER,
        "random": random_map(16, 1.0, 0),
        "center": center_map(16),
    }
    found = curves(sees_the_corner, CROP, maps, 0)
    for name in ("wrong", "random", "center"):
        assert found["right"].deletion_area < found[name].deletion_area
        assert found["right"].insertion_area > found[name].insertion_area
    assert found["right"].insertion_area > 0.85
    assert found["wrong"].insertion_area < 0.3


def test_all_curves_begin_and_end_with_the_same_images() -> None:
    found = curves(sees_the_corner, CROP, {"a": CORNER, "b": center_map(16)}, 0)
    for each in found.values():
        assert len(each.deletion) == len(each.insertion) == len(SHARES)
        assert each.deletion[0] == each.insertion[-1] == 1
        assert each.deletion[-1] == each.insertion[0] < 0.2


def test_the_strongest_pixels_are_as_many_as_asked_for() -> None:
    values = np.arange(20.0).reshape(4, 5)
    assert strongest(values, 0.25).sum() == 5
    assert strongest(values, 0.25)[3].all()
    assert not strongest(values, 0.0).any()
    assert strongest(np.zeros((4, 5)), 0.5).sum() == 10  # ties are cut, too


def test_blur_keeps_the_brightness_and_takes_the_rest() -> None:
    soft = blurred(CROP)
    assert soft.mean() == pytest.approx(CROP.mean(), abs=1)
    assert soft.std() < CROP.std() / 4


def test_rank_correlation_knows_order_alone() -> None:
    values = random_map(16, 1.0, 1)
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert rank_correlation(values, np.zeros((16, 16))) == 0


@pytest.mark.parametrize(
    ("part", "rows"), [("mouth", (24, 48)), ("brows", (0, 26)), ("eyes", (10, 30))]
)
def test_one_part_of_a_drawn_face_changes(part: str, rows: tuple[int, int]) -> None:
    change = draw_change(part, 3)
    region = changed_region(change.before, change.after)
    assert change.label == CHANGES[part][0]
    assert 0.005 < region.mean() < 0.3
    changed = np.flatnonzero(region.any(axis=1))
    assert rows[0] <= changed.min() < changed.max() < rows[1]
    again = draw_change(part, 3)
    np.testing.assert_array_equal(again.after, change.after)
    other = draw_change("mouth" if part != "mouth" else "eyes", 3)
    np.testing.assert_array_equal(other.before, change.before)  # the same person


def test_pointing_asks_for_the_greatest_value() -> None:
    region = CORNER > 0
    values = np.zeros((16, 16))
    values[2, 3], values[9, 9] = 2.0, 1.0
    assert points_at(values, region)
    values[9, 9] = 3.0
    assert not points_at(values, region)
