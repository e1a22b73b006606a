import numpy as np

from emodc.explain.map_overlay import AGAINST, FOR, overlay


def test_colors_say_which_class_a_pixel_speaks_for() -> None:
    face = np.full((48, 48), 128, np.uint8)
    values = np.zeros((48, 48))
    values[8:16, 8:16], values[32:40, 32:40] = 1.0, -1.0
    shown = overlay(face, values, side=48).astype(int)
    assert shown.shape == (48, 48, 3)
    assert np.abs(shown[12, 12] - FOR).max() < 30
    assert np.abs(shown[36, 36] - AGAINST).max() < 30
    assert np.ptp(shown[24, 24]) < 6  # gray where nothing speaks


def test_a_map_of_nothing_leaves_the_face() -> None:
    face = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    shown = overlay(face, np.zeros((16, 16)))
    assert np.ptp(shown, axis=2).max() == 0
