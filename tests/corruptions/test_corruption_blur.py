from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import convolve

from emodc.corruptions.blur import defocus_blur, gaussian_blur, motion_blur, zoom_blur
from emodc.corruptions.pixels import Pixels

Blur = Callable[[Pixels], Pixels]

BLURS: dict[str, Blur] = {
    "gaussian": lambda x: gaussian_blur(x, 2.0),
    "defocus": lambda x: defocus_blur(x, 3.0),
    "motion": lambda x: motion_blur(x, 3.0, 9.0, 30.0),
    "zoom": lambda x: zoom_blur(x, 0.02, 13),
}
SIDE = 41  # of an impulse response, the impulse in the middle


def response(blur: Blur) -> Pixels:
    impulse = np.zeros((SIDE, SIDE, 1), dtype=np.float32)
    impulse[SIDE // 2, SIDE // 2] = 1
    return blur(impulse)[:, :, 0]


def moments(weights: Pixels) -> tuple[float, float, float]:
    """Mean row and column, relative to the impulse, and variance about the impulse, by axis."""
    rows, columns = np.meshgrid(*[np.arange(SIDE) - SIDE // 2] * 2, indexing="ij")
    variance = (weights * (rows**2 + columns**2)).sum() / 2
    return float((weights * rows).sum()), float((weights * columns).sum()), float(variance)


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 9, 3), (40, 30, 3)])
def test_a_flat_image_stays_as_it_is(name: str, shape: tuple[int, int, int]) -> None:
    flat = np.broadcast_to(np.array([0.2, 0.5, 0.9][: shape[2]], dtype=np.float32), shape).copy()
    np.testing.assert_allclose(BLURS[name](flat), flat, atol=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "defocus", "motion"])
def test_the_image_is_convolved_with_the_response_and_mirrored(name: str) -> None:
    x = np.random.default_rng(0).random((50, 45, 3), dtype=np.float32)
    weights = response(BLURS[name])
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    expected = np.stack([convolve(x[:, :, c], weights, mode="reflect") for c in range(3)], axis=2)
    np.testing.assert_allclose(BLURS[name](x), expected, atol=1e-5)


@pytest.mark.parametrize("size", [1.5, 2.5, 4.0])
def test_gaussian_and_disk_have_the_stated_width(size: float) -> None:
    row, column, variance = moments(response(lambda x: gaussian_blur(x, size)))
    assert (row, column) == pytest.approx((0, 0), abs=1e-4)
    assert variance == pytest.approx(size**2, rel=0.01)
    row, column, variance = moments(response(lambda x: defocus_blur(x, size)))
    assert (row, column) == pytest.approx((0, 0), abs=1e-4)
    # A quarter of the squared radius; the interpolation between pixels adds about a sixth.
    assert variance == pytest.approx(size**2 / 4 + 1 / 6, rel=0.06)


@pytest.mark.parametrize("angle", [-45.0, 0.0, 30.0, 90.0])
def test_a_streak_runs_to_one_side_along_its_angle(angle: float) -> None:
    row, column, _ = moments(response(lambda x: motion_blur(x, 4.0, 16.0, angle)))
    assert np.degrees(np.arctan2(row, column)) == pytest.approx(angle, abs=0.5)
    # The mean distance of half a Gaussian.
    assert np.hypot(row, column) == pytest.approx(4 * (2 / np.pi) ** 0.5, rel=0.05)


def test_small_radii_change_the_image_smoothly() -> None:
    x = np.random.default_rng(0).random((20, 20, 1), dtype=np.float32)
    changes = [float(np.abs(defocus_blur(x, r) - x).mean()) for r in (0.1, 0.2, 0.4, 0.8, 1.6)]
    assert (np.diff(changes) > 0).all()
    assert 0 < changes[0] < 0.1


def test_zooming_leaves_the_center_and_smears_the_rim_outwards() -> None:
    x = np.zeros((41, 41, 1), dtype=np.float32)
    x[20, 20] = x[20, 30] = 1
    blurred = zoom_blur(x, 0.02, 13)[:, :, 0]
    assert blurred.argmax() == 20 * 41 + 20
    columns = np.arange(25, 41)
    smeared = blurred[:, columns].sum(axis=0)
    assert (smeared * columns).sum() / smeared.sum() > 30.5
    np.testing.assert_allclose(blurred, blurred[::-1], atol=1e-5)  # nothing moves up or down
