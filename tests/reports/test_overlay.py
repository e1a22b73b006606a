import itertools

import numpy as np
import pytest

from emodc.reports.colors import class_color
from emodc.reports.overlay import Shown, draw_faces

P = {"neutral": 0.1, "happiness": 0.7, "fear": 0.2}


def test_a_face_gets_a_box_of_its_class_and_the_image_stays() -> None:
    image = np.full((200, 300, 3), 30, np.uint8)
    drawn = draw_faces(image, [Shown((100, 60, 180, 150), P)])
    assert drawn.shape == image.shape
    assert image.min() == image.max() == 30
    assert drawn[100, 100].tolist() == list(class_color(1))
    np.testing.assert_array_equal(drawn[110:120, 130:150], 30)


def test_bars_are_as_long_as_probabilities() -> None:
    image = np.full((200, 400, 3), 30, np.uint8)
    drawn = draw_faces(image, [Shown((20, 60, 100, 150), P)])[:, 110:]
    lengths = [int((drawn == class_color(place)).all(axis=2).sum(axis=1).max()) for place in (0, 1)]
    assert lengths[1] > 5 * lengths[0]


@pytest.mark.parametrize("box", [(-20, -20, 40, 40), (0, 0, 48, 48), (40, 40, 47.5, 47.9)])
def test_faces_at_the_edge_and_in_small_images_are_drawn(
    box: tuple[float, float, float, float],
) -> None:
    image = np.zeros((48, 48, 3), np.uint8)
    assert draw_faces(image, [Shown(box, P, "person 1")]).any()
    np.testing.assert_array_equal(draw_faces(image, []), image)


def dichromat(color: tuple[int, int, int]) -> np.ndarray:
    """What someone without red cones sees (Vienot, Brettel and Mollon, 1999), in linear light."""
    linear = (np.array(color) / 255) ** 2.2
    matrix = np.array([[0.112, 0.888, 0.0], [0.112, 0.888, 0.0], [0.004, -0.004, 1.0]])
    return np.clip(matrix @ linear, 0, 1) ** (1 / 2.2)


def test_colors_can_be_told_apart_without_red_cones() -> None:
    seen = [dichromat(class_color(place)) for place in range(7)]
    apart = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)]
    assert min(apart) > 0.1
