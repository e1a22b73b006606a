import numpy as np
import pytest

from emodc.faces.detector import Face, crop_face, whole_image_crop
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.faces.warp import Matrix, corners, face_to_crop, image_to_crop, on_image


def spot(height: int, width: int, x: int, y: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[y - 3 : y + 3, x - 3 : x + 3] = 255
    return image


def center(values: Matrix) -> tuple[float, float]:
    down, across = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    return float((across * values).sum() / values.sum()), float(
        (down * values).sum() / values.sum()
    )


def turned_face() -> Face:
    angle, scale, at = 0.35, 120.0, np.array([140.0, 90.0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = (np.array(FER2013_GEOMETRY.landmarks) - 0.5) * scale
    return Face((80, 30, 200, 150), points @ turn + at, 1.0)


def test_a_crop_shows_a_point_where_the_transform_takes_it() -> None:
    pytest.importorskip("cv2", reason="needs the extra faces")
    face = turned_face()
    crop = crop_face(spot(200, 300, 150, 80), face, FER2013_GEOMETRY, 64)
    to_crop = face_to_crop(face, FER2013_GEOMETRY, 64)
    expected = to_crop[:, :2] @ [150, 80] + to_crop[:, 2]
    np.testing.assert_allclose(center(crop[..., 0].astype(np.float64)), expected, atol=0.1)


@pytest.mark.parametrize(("height", "width"), [(100, 100), (60, 100), (101, 60)])
def test_a_whole_image_shows_a_point_where_the_transform_takes_it(height: int, width: int) -> None:
    crop = whole_image_crop(spot(height, width, 30, 40), 48)
    to_crop = image_to_crop(height, width, 48)
    expected = to_crop[:, :2] @ [30, 40] + to_crop[:, 2]
    np.testing.assert_allclose(center(crop[..., 0].astype(np.float64)), expected, atol=0.15)


def test_on_the_image_a_map_keeps_its_sum_and_lies_where_it_belongs() -> None:
    face = turned_face()
    to_crop = face_to_crop(face, FER2013_GEOMETRY, 48)
    values = np.random.default_rng(0).standard_normal((48, 48)) + 0.5
    found = on_image(values, to_crop, 200, 300)
    assert found.shape == (200, 300)
    assert found.sum() == pytest.approx(values.sum(), rel=0.02)
    point = np.zeros((48, 48))
    point[30, 12] = 1.0
    x, y = center(on_image(point, to_crop, 200, 300))
    back = to_crop[:, :2] @ [x, y] + to_crop[:, 2]
    np.testing.assert_allclose(back, [12.5, 30.5], atol=0.1)


def test_what_lies_outside_the_image_is_cut_off() -> None:
    values = np.ones((8, 8))
    shift = np.array([[1.0, 0.0, 4.0], [0.0, 1.0, 0.0]])  # the left half lies outside
    assert on_image(values, shift, 20, 20).sum() == pytest.approx(32)
    away = np.array([[1.0, 0.0, 400.0], [0.0, 1.0, 0.0]])
    assert not on_image(values, away, 20, 20).any()


def test_corners_go_round_the_crop() -> None:
    found = corners(image_to_crop(10, 10, 5), 5)
    np.testing.assert_allclose(found, [[0, 0], [10, 0], [10, 10], [0, 10]])
