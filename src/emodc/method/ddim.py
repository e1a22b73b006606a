"""From noise to images: DDIM.

Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), equation 12 with sigma = 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from emodc.method.draws import check_steps
from emodc.method.schedule import Schedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""``denoiser(xt (B,C,H,W), t (B,)) -> eps (B,C,H,W)``: noise prediction under fixed prompts."""


def descending_timesteps(timesteps: int, steps: int) -> Tensor:
    """Return the timesteps that DDIM visits, from T-1 down: (S,) int64.

    They end where noise ends, at T-1, because the first image is nothing but noise (Lin et al.,
    "Common Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024, section 3.3).

    Args:
        timesteps: T.
        steps: S.

    Raises:
        ValueError: S is outside 1..T.
    """
    check_steps(steps, timesteps)
    s = torch.arange(steps, dtype=torch.int64)
    return (steps - s) * timesteps // steps - 1  # in integers


def ddim(
    denoiser: Denoiser,
    schedule: Schedule,
    noise: Tensor,
    steps: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Turn noise into images without drawing any more of it.

    Each step takes the predicted noise for the true one, which tells x0, and gives x0 the lower
    noise of the next timestep; the last one gives it none.

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
    visited = descending_timesteps(schedule.timesteps, steps)
    xt, x0 = noise, noise
    for number, t in enumerate(visited):
        signal, level = (value.to(noise.device) for value in schedule.signal_and_noise(t))
        eps = denoiser(xt, t.to(noise.device).expand(len(xt))).float()
        x0 = (xt - level * eps) / signal
        if number + 1 < steps:
            signal, level = (
                value.to(noise.device) for value in schedule.signal_and_noise(visited[number + 1])
            )
            xt = signal * x0 + level * eps
        progress(number + 1, steps)
    return x0
