"""How much noise an image carries, estimated from the image alone.

Noise has as much fine diagonal detail as any other; faces have little. The estimate is the root
mean square of the finest diagonal Haar coefficients, less what clean images have there. It
is the mean square, not the median of Donoho & Johnstone (Biometrika 1994), because salt and pepper
is all outliers. It costs no call of the network.
"""

import torch
from torch import Tensor

_MOST_NOISE = 0.9
"""Share of an image's variance that is taken for noise at most."""


def diagonal_detail(x0: Tensor) -> Tensor:
    """Return the root mean square of the finest diagonal Haar coefficients.

    Every position counts, not every other one as in the transform. White noise has its own
    standard deviation there.

    Args:
        x0: (B, C, H, W) images.

    Returns:
        (B,) float32, with gradients to the images.
    """
    coefficients = (
        x0[..., :-1, :-1] - x0[..., 1:, :-1] - x0[..., :-1, 1:] + x0[..., 1:, 1:]
    ) / 2  # (B, C, H-1, W-1)
    return coefficients.float().square().mean(dim=(1, 2, 3)).sqrt()


def error_gain(gain: float, sigma: Tensor) -> Tensor:
    """Return how many times errors of images with noise of levels sigma, of any shape, count.

    Accounting for noise shrinks what errors differ by; see `emodc.calibration.noise`.
    """
    return 1 + gain * sigma.square()


def observe(x0: Tensor, texture: float, least: float) -> tuple[Tensor, Tensor]:
    """Separate images of unit variance from the noise in them.

    Args:
        x0: (B, C, H, W) images, each of mean 0 and variance 1, noise included.
        texture: diagonal detail of clean images, on average (root mean square).
        least: diagonal detail up to which an image counts as clean.

    Returns:
        (B, C, H, W) the images, scaled so that what is no noise has unit variance, and (B,) the
        standard deviation of the noise in them; 0 for clean images, which stay as they are.
    """
    detail = diagonal_detail(x0)
    share = (detail.square() - texture**2).clamp(0, _MOST_NOISE)  # of the variance
    share = torch.where(detail > least, share, torch.zeros_like(share))
    signal = (1 - share).sqrt()
    sigma = torch.where(share > 0, share.clamp_min(1e-12).sqrt() / signal, share)
    return x0 / signal.view(-1, 1, 1, 1), sigma
