"""The best linear denoiser: what noise prediction costs when only second moments are known.

A network whose error is below this one's has learnt more of faces than their covariance.
"""

import torch
from torch import Tensor

from emodc.method.schedule import Schedule


def wiener_errors(train: Tensor, test: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
    """Return the noise-prediction error of the linear denoiser fitted on the training images.

    With the training images' mean m and covariance ``C = U diag(l) U'`` (Wiener, 1949),

        eps_theta(xt, t) = b (a^2 C + b^2 I)^-1 (xt - a m),   a^2 = abar_t, b^2 = 1 - abar_t.

    Its error is measured on the test images; the expectation over eps is taken in closed form,
    so nothing is drawn. For test images with the training moments it is
    ``mean_i l_i / (l_i + s_t^2)``.

    Args:
        train: (N, C, H, W) images in the space of x0; N well above C * H * W, else directions
            that the training images happen not to vary in are taken for certain.
        test: (M, C, H, W) images.
        schedule: the noise schedule.
        t: (S,) int64 timesteps.

    Returns:
        (S,) float64, mean over elements and images, in the units of
        :func:`emodc.method.schedule.noise_error`.

    Raises:
        ValueError: fewer than two training images.
    """
    if len(train) < 2:
        raise ValueError("the linear denoiser needs at least two training images")
    mean = train.flatten(1).mean(dim=0, dtype=torch.float64)  # (D,)
    centered = train.flatten(1) - mean  # (N, D) float64
    eigenvalues, basis = torch.linalg.eigh(centered.T @ centered / len(train))  # (D,), (D, D)
    variance = eigenvalues.clamp_min(0)  # rounding can leave a zero below zero
    # Second moment of the test images along each eigenvector: (D,).
    found = ((test.flatten(1) - mean) @ basis).square().mean(dim=0)
    errors = []
    for abar in schedule.alphas_cumprod[t.cpu()]:
        signal, noise = abar, 1 - abar  # a^2, b^2
        # Along i, the prediction minus eps is (a b u_i - a^2 l_i eps_i) / (a^2 l_i + b^2).
        error = signal * noise * found + signal**2 * variance**2
        errors.append((error / (signal * variance + noise) ** 2).mean())
    return torch.stack(errors)
