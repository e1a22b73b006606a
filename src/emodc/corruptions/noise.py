"""Noise: Gaussian, shot, salt and pepper, speckle.

In a gray image a pixel has one noise value, in a color image one for each channel.
"""

import numpy as np

from emodc.corruptions.pixels import Pixels


def gaussian_noise(x: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Add normal noise of standard deviation ``sigma``, as a share of the full range."""
    return x + np.float32(sigma) * rng.standard_normal(x.shape, dtype=np.float32)


def shot_noise(x: Pixels, photons: float, rng: np.random.Generator) -> Pixels:
    """Count photons: Poisson noise, where white is ``photons`` of them on average."""
    return (rng.poisson(x * photons) / photons).astype(np.float32)


def salt_and_pepper(x: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Turn a share of the values white or black, with equal probability."""
    drawn = rng.random(x.shape, dtype=np.float32)
    noisy = np.where(drawn < share / 2, np.float32(0), x)
    return np.where(drawn > 1 - share / 2, np.float32(1), noisy)


def speckle_noise(x: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Add normal noise in proportion to each value: multiply by ``1 + sigma * N(0, 1)``."""
    return x + x * np.float32(sigma) * rng.standard_normal(x.shape, dtype=np.float32)
