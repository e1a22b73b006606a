import numpy as np
import pytest

from emodc.corruptions.digital import brightness, contrast, jpeg, low_resolution, pixelate
from emodc.corruptions.pixels import Pixels


def some_pixels(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(0).random((height, width, channels), dtype=np.float32)


@pytest.mark.parametrize("change", [-0.5, -0.1, 0.1, 0.5])
def test_brightness_moves_the_value_and_keeps_hue_and_saturation(change: float) -> None:
    x = some_pixels(9, 9)
    changed = brightness(x, change)
    value = x.max(axis=2, keepdims=True)
    np.testing.assert_allclose(
        changed.max(axis=2, keepdims=True), (value + change).clip(0, 1), atol=1e-6
    )
    np.testing.assert_allclose(changed * value, x * changed.max(axis=2, keepdims=True), atol=1e-6)
    gray = x[:, :, :1]
    np.testing.assert_allclose(brightness(gray, change), (gray + change).clip(0, 1), atol=1e-6)


def test_black_becomes_gray() -> None:
    black = np.zeros((2, 2, 3), dtype=np.float32)
    np.testing.assert_allclose(brightness(black, 0.3), 0.3)
    np.testing.assert_allclose(brightness(black, -0.3), 0)


@pytest.mark.parametrize("factor", [0.1, 0.4, 1.5])
def test_contrast_keeps_each_channels_mean_and_scales_its_spread(factor: float) -> None:
    x = some_pixels(9, 9) * np.array([1.0, 0.5, 0.2], dtype=np.float32)
    changed = contrast(x, factor)
    np.testing.assert_allclose(changed.mean(axis=(0, 1)), x.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(changed.std(axis=(0, 1)), factor * x.std(axis=(0, 1)), rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_keeps_what_is_smooth_and_loses_noise(channels: int) -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[:, None, None] * np.ones((1, 64, channels))
    smooth = ramp.astype(np.float32)
    assert np.abs(jpeg(smooth, 25) - smooth).max() < 0.06
    noise = some_pixels(64, 64, channels)
    assert np.abs(jpeg(noise, 25) - noise).mean() > 0.05


def test_pixelation_shows_blocks_of_the_mean() -> None:
    x = some_pixels(20, 40)
    blocks = pixelate(x, 0.25)
    expected = x.reshape(5, 4, 10, 4, 3).mean(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_allclose(blocks, expected, atol=1e-5)


def test_low_resolution_keeps_what_is_coarse_and_loses_what_is_fine() -> None:
    place = np.arange(64) + 0.5
    for period, kept in ((64.0, 0.95), (3.0, 0.05)):
        wave = (0.5 + 0.5 * np.cos(2 * np.pi * place / period)).astype(np.float32)
        x = np.broadcast_to(wave[None, :, None], (64, 64, 1)).copy()
        left = low_resolution(x, 0.25)[:, 8:-8]
        spread = (left.std() / x[:, 8:-8].std()).item()
        assert spread > kept if period > 8 else spread < kept
