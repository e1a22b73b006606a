import numpy as np
import pytest
from scipy import ndimage

from emodc.explain.map_smoothing import (
    Map,
    significant,
    smoothed,
    standard_error,
    supported_width,
)


def noise(seed: int, *shape: int) -> Map:
    return np.random.default_rng(seed).standard_normal(shape)


def blob(size: int, width: float) -> Map:
    point = np.zeros((size, size))
    point[size // 3, size // 2] = 1
    found = np.asarray(ndimage.gaussian_filter(point, width, mode="reflect"), np.float64)
    return np.asarray(found / found.max(), np.float64)


@pytest.mark.parametrize("width", [0.0, 0.5, 3.0, 20.0])
def test_smoothing_keeps_the_sum_of_every_map(width: float) -> None:
    maps = noise(0, 3, 16, 12)
    kept = smoothed(maps, width).sum(axis=(1, 2))
    np.testing.assert_allclose(kept, maps.sum(axis=(1, 2)), atol=1e-10)


def test_smoothing_does_not_mix_maps() -> None:
    maps = np.stack([noise(0, 16, 16), np.zeros((16, 16))])
    assert not smoothed(maps, 2.0)[1].any()
    np.testing.assert_allclose(smoothed(maps, 2.0)[0], smoothed(maps[0], 2.0))


def test_a_clear_map_stays_and_a_noisy_one_is_smoothed_more_the_noisier_it_is() -> None:
    truth = blob(48, 4.0)
    widths = [supported_width(truth + level * noise(1, 64, 48, 48), False) for level in (0, 2, 20)]
    assert widths[0] == 0
    assert 0 < widths[1] < widths[2]


def test_the_width_brings_the_mean_closer_to_the_truth() -> None:
    truth = blob(48, 3.0)
    maps = truth + 5 * noise(2, 64, 48, 48)
    width = supported_width(maps, True)
    mean = maps.mean(axis=0)
    assert np.square(smoothed(mean, width) - truth).sum() < np.square(mean - truth).sum() / 10


@pytest.mark.parametrize("mirror", [False, True])
def test_the_standard_error_is_that_of_other_noise_not_of_other_timesteps(mirror: bool) -> None:
    steps = 200
    trend = np.linspace(10, 0, steps)[:, None] + 3 * (np.arange(steps) % 2 * mirror)[:, None]
    values = trend + noise(3, steps, 500)  # the noise alone differs from seed to seed
    found = standard_error(values, mirror)
    assert found.mean() == pytest.approx(1 / steps**0.5, rel=0.05)


def test_what_is_marked_is_mistaken_as_rarely_as_promised() -> None:
    truth = np.zeros((24, 24))
    truth[8:12, 6:18] = 1.0
    wrong, marked, found = 0, 0, 0
    for seed in range(40):
        maps = smoothed(truth + 4 * noise(seed, 100, 24, 24), 0.5)
        is_marked = significant(maps.mean(axis=0), standard_error(maps, False), 100, 0.05)
        far = ndimage.binary_dilation(truth > 0, iterations=3)
        wrong += int((is_marked & ~far).sum())
        found += int((is_marked & (truth > 0)).sum())
        marked += int(is_marked.sum())
    assert wrong / marked < 0.07
    assert found > 0.5 * 40 * truth.sum()


def test_nothing_is_marked_in_a_map_of_zeros_and_all_of_a_map_without_noise() -> None:
    zero = np.zeros((8, 8))
    assert not significant(zero, zero, 50, 0.05).any()
    assert significant(zero + 1, zero, 50, 0.05).all()
