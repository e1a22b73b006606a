import numpy as np
import pytest

from emodc.corruptions.noise import gaussian_noise, salt_and_pepper, shot_noise, speckle_noise
from emodc.corruptions.pixels import Pixels


def flat(level: float, channels: int = 1) -> Pixels:
    return np.full((300, 300, channels), level, dtype=np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("level", [0.2, 0.8])
def test_noise_has_the_stated_strength(level: float) -> None:
    for noisy, expected in (
        (gaussian_noise(flat(level), 0.18, rng()), 0.18),
        (shot_noise(flat(level), 29, rng()), (level / 29) ** 0.5),
        (speckle_noise(flat(level), 0.35, rng()), 0.35 * level),
    ):
        assert noisy.dtype == np.float32
        assert noisy.mean() == pytest.approx(level, abs=0.005)
        assert noisy.std() == pytest.approx(expected, rel=0.02)


def test_salt_and_pepper_turns_a_share_white_and_as_many_black() -> None:
    noisy = salt_and_pepper(flat(0.5), 0.2, rng())
    assert (noisy == 0).mean() == pytest.approx(0.1, abs=0.005)
    assert (noisy == 1).mean() == pytest.approx(0.1, abs=0.005)
    assert (noisy == 0.5).mean() == pytest.approx(0.8, abs=0.005)


def test_each_color_channel_has_noise_of_its_own() -> None:
    noisy = gaussian_noise(flat(0.5, 3), 0.1, rng()).reshape(-1, 3).T
    assert np.abs(np.corrcoef(noisy) - np.eye(3)).max() < 0.02
