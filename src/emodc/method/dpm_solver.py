"""From noise to images in fewer steps: DPM-Solver++(2M).

Lu et al., "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models" (arXiv
2211.01095), algorithm 2. With ``lambda = log(signal / noise)`` as time, the probability flow is

    d(xt / noise) / d lambda = exp(lambda) x0_theta(xt),

so a step is exact but for how x0_theta changes within it. DDIM takes it for constant; this solver
continues the line through its last two values. Neither draws any noise on the way.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from emodc.method.ddim import Denoiser, descending_timesteps
from emodc.method.schedule import Schedule


def dpm_solver(
    denoiser: Denoiser,
    schedule: Schedule,
    noise: Tensor,
    steps: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Turn noise into images by DPM-Solver++(2M).

    It visits DDIM's timesteps. The last step, which removes all noise, returns the predicted x0, as
    DDIM's does.

    Args:
        denoiser: predicts the noise.
        schedule: the denoiser's.
        noise: (B, C, H, W) standard normal.
        steps: S, calls of the denoiser for each image.
        progress: is told after every step.

    Returns:
        (B, C, H, W) float32, x0.

    Raises:
        ValueError: S is outside 1..T.
    """
    visited = descending_timesteps(schedule.timesteps, steps)  # (S,)
    signal, level = schedule.signal_and_noise(visited)  # (S,) each
    # (S,) rising, in float64: neighbors differ little at many steps
    log_snr = torch.logit(schedule.alphas_cumprod[visited]) / 2
    xt, x0, before = noise, noise, noise
    for n, t in enumerate(visited.tolist()):
        at = torch.full((len(xt),), t, device=xt.device)
        before, x0 = x0, (xt - float(level[n]) * denoiser(xt, at).float()) / float(signal[n])
        if n + 1 < steps:
            h = float(log_snr[n + 1] - log_snr[n])
            along = x0
            if n:
                ratio = float(log_snr[n] - log_snr[n - 1]) / h
                along = x0 + (x0 - before) / (2 * ratio)
            kept = float(level[n + 1] / level[n])
            xt = kept * xt + float(signal[n + 1]) * -math.expm1(-h) * along
        progress(n + 1, steps)
    return x0
