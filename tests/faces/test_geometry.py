import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodc.faces.geometry import (
    ARCFACE_GEOMETRY,
    FER2013_GEOMETRY,
    LANDMARKS,
    CropGeometry,
    with_margin,
)

TEMPLATE = np.array(FER2013_GEOMETRY.landmarks)


def test_a_geometry_survives_json() -> None:
    stored = json.dumps(FER2013_GEOMETRY.to_dict())
    assert CropGeometry.from_dict(json.loads(stored)) == FER2013_GEOMETRY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nose": None}, "two numbers"),
        ({"nose": [0.5]}, "two numbers"),
        ({"nose": ["a", "b"]}, "two numbers"),
        ({"nose": [0.5, 1.5]}, "outside the unit square"),
        ({"nose": [float("nan"), 0.5]}, "outside the unit square"),
        ({"left_eye": [0.9, 0.4]}, "to the left of right_eye"),
        ({"chin": [0.5, 0.9]}, "has the keys left_eye"),
    ],
)
def test_a_wrong_geometry_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CropGeometry.from_dict({**FER2013_GEOMETRY.to_dict(), **change})


def test_a_geometry_needs_all_five_landmarks() -> None:
    with pytest.raises(ValueError, match="has the keys"):
        CropGeometry.from_dict({"nose": [0.5, 0.5]})
    with pytest.raises(ValueError, match=f"for each of {LANDMARKS[0]}"):
        CropGeometry(((0.5, 0.5),))


def test_fer2013s_geometry_is_symmetric() -> None:
    mirrored = (TEMPLATE * [-1, 1] + [1, 0])[[1, 0, 2, 4, 3]]
    np.testing.assert_allclose(TEMPLATE, mirrored, atol=1e-9)


def test_arcfaces_geometry_is_the_template_of_112_pixels() -> None:
    template = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366)]
    template += [(41.5493, 92.3655), (70.7299, 92.2041)]
    np.testing.assert_allclose(np.array(ARCFACE_GEOMETRY.landmarks) * 112, template, atol=1e-9)


@given(st.floats(-0.1, 5))
def test_a_margin_is_gained_on_each_side(margin: float) -> None:
    wider = np.array(with_margin(FER2013_GEOMETRY, margin).landmarks)
    # In sides of the narrower crop, counted from its corner.
    np.testing.assert_allclose(wider * (1 + 2 * margin) - margin, TEMPLATE, atol=1e-9)


@pytest.mark.parametrize("margin", [-0.5, -1, float("nan"), float("inf")])
def test_a_margin_that_leaves_nothing_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=r"margin must be a number above -0\.5"):
        with_margin(FER2013_GEOMETRY, margin)


def test_a_margin_that_cuts_a_landmark_off_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the unit square"):
        with_margin(ARCFACE_GEOMETRY, -0.2)
