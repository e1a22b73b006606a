"""The draws of the diffusion classifier: timesteps and noise that all classes and images share.

With S draws ``(t_s, eps_s)`` every image is shown at the same timesteps with the same noise; only
an image that carries noise of its own arrives at noisier ones.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from emodc.method.randomness import standard_normal
from emodc.method.schedule import Schedule, add_noise

# Stream of `counter_rng` that belongs to evaluation draws; training uses others.
_BANK_STREAM = 0xBA2C

_MOST_NUMBERS = 1 << 28  # in the noise of one bank, which is held in memory as float32


@dataclass(frozen=True)
class DrawBank:
    """The S draws that one evaluation uses for every image and class.

    Attributes:
        t: (S,) int64, ascending timesteps.
        eps: (S, C, H, W) float32 standard normal noise.
        mirrored: (S,) bool, the draws that show the mirror image.
    """

    t: Tensor
    eps: Tensor
    mirrored: Tensor

    def __len__(self) -> int:
        return len(self.t)

    def to(self, device: torch.device) -> "DrawBank":
        """Return the draws on another device."""
        return DrawBank(self.t.to(device), self.eps.to(device), self.mirrored.to(device))


def draw_bank(
    timesteps: int,
    steps: int,
    shape: tuple[int, ...],
    seed: int = 0,
    *,
    mirror: bool = False,
    span: tuple[int, int] | None = None,
) -> DrawBank:
    """Return the draws of the S-step protocol: t evenly spaced, noise seeded.

    The noise of draw s is a function of (seed, S, T, s) alone.

    Args:
        timesteps: T.
        steps: S, 1 <= S <= T.
        shape: (C, H, W) of x0.
        seed: the evaluation's seed.
        mirror: show the mirror image in every other draw, to a network that was trained on both.
        span: see `spaced_timesteps`.

    Raises:
        ValueError: S is outside 1..T, or 1..b-a, or their noise takes more than a gigabyte.
    """
    t = spaced_timesteps(timesteps, steps, span)
    if steps * math.prod(shape) > _MOST_NUMBERS:
        size = "x".join(map(str, shape))
        raise ValueError(f"{steps} steps of {size} numbers take over 1 GB; ask for fewer steps")
    indices = [steps * timesteps + i for i in range(steps)]
    mirrored = torch.arange(steps) % 2 == 1
    return DrawBank(t, standard_normal(seed, _BANK_STREAM, indices, shape), mirrored & mirror)


def check_steps(steps: int, timesteps: int) -> None:
    """Refuse a number of steps that a schedule cannot give.

    Args:
        steps: S.
        timesteps: T.

    Raises:
        ValueError: S is outside 1..T.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must be between 1 and {timesteps}, not {steps}")


def spaced_timesteps(timesteps: int, steps: int, span: tuple[int, int] | None = None) -> Tensor:
    """Return (S,) int64 ``t_s = a + floor((s + 0.5) (b - a) / S)``.

    They cover the whole range for every S, where a stride of ``T // S`` stops short of T.

    Args:
        timesteps: T.
        steps: S.
        span: a and b, the first timestep of the range and the one after its last; 0 and T if not
            given.

    Raises:
        ValueError: S is outside 1..b-a.
    """
    first, beyond = span or (0, timesteps)
    check_steps(steps, beyond - first)
    s = torch.arange(steps, dtype=torch.int64)
    # floor((s + 0.5) (b - a) / S), in integers
    return first + (2 * s + 1) * (beyond - first) // (2 * steps)


class Shown(NamedTuple):
    """(image, draw) pairs as a network is shown them; see `show`.

    Attributes:
        x: (M, C, H, W) images.
        xt: (M, C, H, W) the same with rho times the noise added.
        t: (M,) int64 timesteps.
        eps: (M, C, H, W) noise.
        rho: (M,) float32, see `emodc.method.schedule.Schedule.missing`.
        sigma: (M,) float32, levels of the noise that the images carry themselves.
    """

    x: Tensor
    xt: Tensor
    t: Tensor
    eps: Tensor
    rho: Tensor
    sigma: Tensor


def show(
    schedule: Schedule, x: Tensor, sigma: Tensor, bank: DrawBank, image: Tensor, draw: Tensor
) -> Shown:
    """Return (image, draw) pairs, with gradients to the images and their noise levels.

    Args:
        schedule: of the network.
        x: (B, C, H, W) images.
        sigma: (B,) float32 levels of the noise that they carry, in units of x0.
        bank: S draws, on the images' device.
        image: (M,) int64 in 0..B-1.
        draw: (M,) int64 in 0..S-1.
    """
    x_m, sigma_m, eps = x[image], sigma[image], bank.eps[draw]
    mirrored = bank.mirrored[draw].view(-1, 1, 1, 1)
    x_m = torch.where(mirrored, x_m.flip(-1), x_m)  # (M, C, H, W)
    t = noisier_timesteps(schedule, bank.t[draw], sigma_m)
    rho = schedule.missing(t, sigma_m)
    xt = add_noise(schedule, x_m, rho.view(-1, 1, 1, 1) * eps, t)  # (M, C, H, W)
    return Shown(x_m, xt, t, eps, rho, sigma_m)


def noisier_timesteps(schedule: Schedule, t: Tensor, sigma: Tensor) -> Tensor:
    """Return the timesteps at which images arrive when the noise of timesteps t is added to them.

    Variances add: an image with noise of its own gets as much noise as a clean one, and is then
    as noisy as the timestep with ``s^2 = s_t^2 + sigma^2``.

    Args:
        schedule: of T timesteps.
        t: (M,) int64 in 0..T-1.
        sigma: (M,) noise levels of the images, below ``s_(T-1)``.

    Returns:
        (M,) int64, the first timesteps at least as noisy (T-1 if none is), with ``s > sigma``; t
        itself where sigma is 0.
    """
    levels = schedule.sigma(torch.arange(schedule.timesteps, device=t.device))  # (T,) rising
    own = sigma.detach().to(levels.dtype)
    together = torch.searchsorted(levels, (levels[t].square() + own.square()).sqrt())
    beyond = torch.searchsorted(levels, own, right=True)
    found = torch.maximum(together, beyond).clamp_max(schedule.timesteps - 1)
    return torch.where(sigma > 0, found, t)
