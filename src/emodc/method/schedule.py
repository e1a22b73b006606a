"""The forward process and the noise-prediction error.

Symbols follow the paper (arXiv 2603.29578): ``x0`` a clean image in the model's space, ``t`` a
timestep in 0..T-1, ``eps`` standard normal noise, ``xt`` the noised image,

    xt = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MOST_TIMESTEPS = 100_000
"""The largest T that settings may ask for."""


@dataclass(frozen=True)
class Schedule:
    """A variance-preserving noise schedule.

    Attributes:
        alphas_cumprod: (T,) float64 on the CPU, ``abar_t``, strictly decreasing in (0, 1).

    Raises:
        ValueError: the values are not strictly decreasing inside (0, 1).
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        abar = self.alphas_cumprod
        if abar.ndim != 1 or not bool(((abar > 0) & (abar < 1)).all() and (abar.diff() < 0).all()):
            raise ValueError("a schedule needs abar_t strictly decreasing inside (0, 1)")

    @property
    def timesteps(self) -> int:
        """T, the number of timesteps."""
        return len(self.alphas_cumprod)

    def signal_and_noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``sqrt(abar_t)`` and ``sqrt(1 - abar_t)``, float32, shaped and placed like t."""
        abar = self.alphas_cumprod[t.cpu()]
        return abar.sqrt().float().to(t.device), (1 - abar).sqrt().float().to(t.device)

    def sigma(self, t: Tensor) -> Tensor:
        """Return ``s_t = sqrt((1 - abar_t) / abar_t)``: the noise level in units of x0."""
        signal, noise = self.signal_and_noise(t)
        return noise / signal

    def missing(self, t: Tensor, sigma: Tensor) -> Tensor:
        """Return ``rho = sqrt(1 - sigma^2 / s_t^2)``: how much of step t's noise is yet to add.

        An image that carries noise of level sigma is itself a noised image (Chen et al., NeurIPS
        2024, arXiv 2402.02316). Adding ``rho eps`` in place of ``eps`` takes it to step t:
        ``xt = sqrt(abar_t) x + sqrt(1 - abar_t) rho eps``, and of all the noise that is then in
        ``xt``, ``rho eps_theta`` is the best prediction of ``eps``.

        Args:
            t: (B,) int64 timesteps with ``s_t > sigma``.
            sigma: (B,) float32 noise levels of the images, in units of x0, >= 0.

        Returns:
            (B,) float32 in (0, 1]; exactly 1 where sigma is 0.
        """
        return (1 - (sigma / self.sigma(t)).square()).sqrt()


@dataclass(frozen=True, kw_only=True)
class ShiftedCosine:
    """The settings of a cosine schedule shifted to a resolution.

    The cosine schedule has ``s_t = tan(pi u / 2)`` for u in (0, 1), so half of its steps are
    noisier than the image. Shifting the log signal-to-noise ratio (Hoogeboom et al., "Simple
    diffusion", ICML 2023, section 3.1) multiplies ``s_t`` by a constant, here its median: small
    images lose what they show at far lower noise than the 64x64x4 latents for which Stable
    Diffusion's schedule was made.

    Attributes:
        timesteps: T; ``u = (t + 0.5) / T``.
        median_sigma: ``s_t`` at the middle of the schedule, in standard deviations of x0.

    Raises:
        ValueError: an attribute is not positive, or there are more than `MOST_TIMESTEPS`.
    """

    kind: Literal["shifted_cosine"] = "shifted_cosine"
    timesteps: int = 1000
    median_sigma: float = 0.3

    def __post_init__(self) -> None:
        if self.timesteps < 1 or not 0 < self.median_sigma < math.inf:
            raise ValueError("timesteps and median_sigma must be positive and finite")
        if self.timesteps > MOST_TIMESTEPS:
            raise ValueError(f"timesteps are at most {MOST_TIMESTEPS:,}, not {self.timesteps:,}")

    def build(self) -> Schedule:
        """Return the schedule."""
        u = (torch.arange(self.timesteps, dtype=torch.float64) + 0.5) / self.timesteps
        sigma = self.median_sigma * torch.tan(math.pi / 2 * u)
        return Schedule(1 / (1 + sigma**2))


@dataclass(frozen=True, kw_only=True)
class EvenLevels:
    """Training noise levels that follow the schedule: t is uniform over 0..T-1."""

    kind: Literal["even"] = "even"

    def timesteps(self, schedule: Schedule, u: Tensor, which: Tensor) -> Tensor:
        """Return t (B,) int64 for uniform numbers u (B,) float64; ``which`` is not needed."""
        return (u * schedule.timesteps).long()


@dataclass(frozen=True, kw_only=True)
class LogNormalLevels:
    """Training noise levels with a normal logarithm (Karras et al., NeurIPS 2022, section 5).

    They bring most samples to the levels at which classes are told apart; a share of samples
    stays spread evenly over the schedule, lest the rest be forgotten.

    Attributes:
        median: of sigma, in standard deviations of x0.
        spread: standard deviation of ln sigma.
        even: share of samples whose t is uniform over 0..T-1.

    Raises:
        ValueError: ``median`` or ``spread`` is not positive and finite, or ``even`` is no share.
    """

    kind: Literal["log_normal"] = "log_normal"
    median: float = 0.8
    spread: float = 0.9
    even: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (0 < self.median < math.inf and 0 < self.spread < math.inf and 0 <= self.even <= 1):
            raise ValueError("median and spread must be positive and finite, even in 0..1")

    def timesteps(self, schedule: Schedule, u: Tensor, which: Tensor) -> Tensor:
        """Return t (B,) int64.

        Args:
            schedule: gives the timesteps their levels; t is the first at least as noisy.
            u: (B,) float64 in [0, 1), the quantiles that are drawn.
            which: (B,) float64 in [0, 1), whether a sample is one of the even ones.
        """
        last = schedule.timesteps - 1
        sigma = self.median * torch.exp(self.spread * torch.special.ndtri(u.clamp_min(1e-12)))
        levels = (1 / schedule.alphas_cumprod - 1).sqrt()  # (T,) float64, rising
        found = torch.searchsorted(levels, sigma).clamp_max(last)
        return torch.where(which < self.even, (u * schedule.timesteps).long(), found)


def add_noise(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """Return ``xt ~ q(xt | x0)``, the forward process.

    Args:
        schedule: the noise schedule.
        x0: (B, C, H, W) clean images.
        eps: (B, C, H, W) standard normal noise.
        t: (B,) int64 in 0..T-1.
    """
    signal, noise = schedule.signal_and_noise(t)
    return signal.view(-1, 1, 1, 1) * x0 + noise.view(-1, 1, 1, 1) * eps


LevelWeight = Literal["eps", "v"]
"""What the errors of a noise level count for in training; see `level_weights`."""

_MOST_WEIGHT = 400.0  # at sigma 20, where nothing of the image is left to be learned


def level_weights(schedule: Schedule, t: Tensor, weight: LevelWeight) -> Tensor:
    """Return what the loss of a sample at timestep t is multiplied by.

    The error of eps is that of v divided by ``1 + sigma^2``, so at high noise, where the shape of
    the whole face is decided, it teaches almost nothing. ``v`` gives it back: the loss is then that
    of v (Salimans & Ho, ICLR 2022), up to a bound.

    Args:
        schedule: of T timesteps.
        t: (B,) int64.
        weight: ``eps``, 1 for all, or ``v``, ``min(1 + sigma_t^2, 400)``.

    Returns:
        (B,) float32.
    """
    sigma = schedule.sigma(t)
    return torch.ones_like(sigma) if weight == "eps" else (1 + sigma**2).clamp_max(_MOST_WEIGHT)


def noise_error(eps_theta: Tensor, eps: Tensor) -> Tensor:
    """Return ``d_c = || eps_theta(xt, t, c) - eps ||^2``, averaged over the elements.

    The mean, not the sum: a fixed margin depends on it. Computed in float32 whatever the
    network's dtype, because the differences between classes are as small as half-precision
    rounding.

    Args:
        eps_theta: (B, P, C, H, W) predictions for P prompts.
        eps: (B, C, H, W) the noise that was added, shared by the prompts.

    Returns:
        (B, P) float32, non-negative.
    """
    return squared_errors(eps_theta, eps).mean(dim=(2, 3, 4))


def squared_errors(eps_theta: Tensor, eps: Tensor) -> Tensor:
    """Return the squared error of every element, of which `noise_error` is the mean.

    Args:
        eps_theta: (B, P, C, H, W) predictions for P prompts.
        eps: (B, C, H, W) the noise that was added, shared by the prompts.

    Returns:
        (B, P, C, H, W) float32, non-negative.
    """
    return (eps_theta.float() - eps.float().unsqueeze(1)).square()
