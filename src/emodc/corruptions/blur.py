"""Blur: Gaussian, defocus, motion, zoom. Lengths are pixels of the image at hand.

Defocus and motion average the linearly interpolated image over a set of points, so that their
strength changes smoothly with the radius even where that is a fraction of a pixel, as in small
crops. Beyond its edges the image is mirrored.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from emodc.corruptions.pixels import Pixels, resized

_PER_PIXEL = 4  # points that a disk or a streak is made of, at least, for each pixel of length


def gaussian_blur(x: Pixels, sigma: float) -> Pixels:
    """Blur with a Gaussian of standard deviation ``sigma``."""
    blurred: Pixels = gaussian_filter(x, (sigma, sigma, 0), mode="reflect")
    return blurred


def defocus_blur(x: Pixels, radius: float) -> Pixels:
    """Average over a disk, as a lens out of focus does."""
    steps = 16 + math.ceil(_PER_PIXEL * radius)
    across = np.arange(-steps, steps + 1) / steps
    rows, columns = np.meshgrid(across, across, indexing="ij")
    inside = rows**2 + columns**2 <= 1
    points = radius * np.stack([rows[inside], columns[inside]], axis=1)
    return _convolve(x, _kernel(points, np.ones(len(points))))


def motion_blur(x: Pixels, sigma: float, length: float, angle: float) -> Pixels:
    """Average along a streak that fades to one side, as a camera in motion does.

    Args:
        x: the image.
        sigma: the weight at distance d is ``exp(-d^2 / (2 sigma^2))``.
        length: where the streak ends.
        angle: of the streak, in degrees.
    """
    distance = np.linspace(0.0, length, 16 + math.ceil(_PER_PIXEL * length))
    turn = math.radians(angle)
    points = distance[:, None] * np.array([math.sin(turn), math.cos(turn)])
    return _convolve(x, _kernel(points, np.exp(-((distance / sigma) ** 2) / 2)))


def zoom_blur(x: Pixels, step: float, count: int) -> Pixels:
    """Average over zooming in: the image, and it at ``1 + step * k`` for k = 0..count-1."""
    height, width = x.shape[:2]
    total = 2 * x
    for k in range(1, count):
        share = (1 - 1 / (1 + step * k)) / 2  # cut off on each side
        box = (width * share, height * share, width * (1 - share), height * (1 - share))
        total = total + resized(x, height, width, Image.Resampling.BILINEAR, box)
    return total / np.float32(count + 1)


def _kernel(points: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share each weighted point (row, column) among the four pixels around it; sums to 1."""
    reach = math.floor(np.abs(points).max()) + 1
    corner = np.floor(points).astype(np.int64)  # (N, 2)
    part = points - corner
    kernel = np.zeros((2 * reach + 2, 2 * reach + 2))
    for row in (0, 1):
        for column in (0, 1):
            share = np.abs(1 - row - part[:, 0]) * np.abs(1 - column - part[:, 1])
            place = corner[:, 0] + reach + row, corner[:, 1] + reach + column
            np.add.at(kernel, place, weights * share)
    # Nothing lies on the last row and column: a point at the very reach has no part beyond.
    kernel = kernel[:-1, :-1]
    kernel /= kernel.sum()
    return kernel


def _convolve(x: Pixels, kernel: NDArray[np.float64]) -> Pixels:
    """Convolve with an odd square kernel, by Fourier transforms: large crops, large kernels."""
    reach = len(kernel) // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    rows, columns = padded.shape[:2]
    spectrum = np.fft.rfft2(padded, axes=(0, 1))
    spectrum *= np.fft.rfft2(kernel, (rows, columns))[:, :, None]
    # What wraps around lands in the first 2 * reach rows and columns.
    blurred = np.fft.irfft2(spectrum, (rows, columns), axes=(0, 1))[2 * reach :, 2 * reach :]
    return blurred.astype(np.float32)
