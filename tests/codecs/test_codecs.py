import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emodc.codecs import PixelCodec

CODEC = PixelCodec(size=16)


def image(seed: int, *shape: int, low: int = 0, high: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


def test_the_shape_is_announced() -> None:
    assert CODEC.encode([image(0, 16, 16), image(1, 40, 30, 3)]).shape == (2, *CODEC.shape)


@given(st.integers(0, 99), st.sampled_from([(16, 16), (16, 16, 3), (50, 40), (7, 9, 3)]))
@settings(max_examples=20, deadline=None)
def test_x0_has_mean_0_and_variance_1(seed: int, shape: tuple[int, ...]) -> None:
    x0 = CODEC.encode([image(seed, *shape)]).double()
    assert x0.mean() == pytest.approx(0, abs=1e-5)
    assert x0.square().mean() == pytest.approx(1, abs=1e-4)


def test_gray_equals_rgb_of_the_same_gray() -> None:
    gray = image(0, 20, 20)
    rgb = np.repeat(gray[:, :, None], 3, axis=2)
    assert torch.equal(CODEC.encode([gray]), CODEC.encode([rgb]))


def test_a_image_of_the_right_size_is_not_resampled() -> None:
    gray = image(0, 16, 16)
    assert np.array_equal(CODEC.to_pixels([gray])[0, 0].numpy(), gray)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_blank_image_becomes_zeros(value: int) -> None:
    assert not CODEC.encode([np.full((16, 16), value, np.uint8)]).any()


def test_faint_noise_is_not_blown_up() -> None:
    assert CODEC.encode([image(0, 16, 16, low=100, high=102)]).std() < 0.2


def test_brightness_and_contrast_drop_out() -> None:
    base = image(0, 16, 16, high=80)
    brighter, stronger = base + np.uint8(100), base * np.uint8(3)
    x0 = CODEC.encode([base, brighter, stronger])
    torch.testing.assert_close(x0[1:], x0[:1].expand(2, -1, -1, -1), rtol=0, atol=1e-4)


def test_images_do_not_affect_one_another() -> None:
    a, b = image(0, 16, 16), image(1, 16, 16)
    torch.testing.assert_close(CODEC.encode([a, b])[:1], CODEC.encode([a]))


def test_decoding_shows_what_was_encoded() -> None:
    gray = image(0, 16, 16)
    shown = CODEC.decode(CODEC.encode([gray]))
    assert shown.shape == (1, 16, 16)
    assert shown.dtype == np.uint8
    assert np.corrcoef(shown.ravel(), gray.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    "crop",
    [np.zeros((16, 16)), np.zeros((16, 16, 4), np.uint8), np.zeros((2, 16, 16, 3), np.uint8)],
    ids=["float", "RGBA", "batch"],
)
def test_other_arrays_are_refused(crop: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8 of shape"):
        CODEC.encode([crop])
