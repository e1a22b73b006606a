"""The diffusion classifier: the class whose prompt predicts the added noise best.

Li et al., "Your Diffusion Model is Secretly a Zero-Shot Classifier" (ICCV 2023, arXiv
2303.16203): with draws ``(t_s, eps_s)``, s = 1..S, shared by all classes and images,

    d_c,s = || eps_theta(xt(x0, eps_s, t_s), t_s, c) - eps_s ||^2,    D_c = mean_s w_s d_c,s,
    prediction = argmin_c D_c,    p(c | x0) = softmax_c(-scale * (D_c - min D)^power),

with weights ``w_s`` of mean 1, all equal unless they were fitted (:mod:`emodc.calibration`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from emodc.diffusion import Schedule, add_noise, noise_error, standard_normal

NoisePredictor = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``predict_noise(xt (B,C,H,W), t (B,), prompts (B,P)) -> eps (B,P,C,H,W)``."""

# Stream of `counter_rng` that belongs to evaluation draws; training uses others.
_BANK_STREAM = 0xBA2C

DEFAULT_PAIRS = 96
"""(image, draw) pairs per call of the network: bounds memory whatever B, K and S are."""


@dataclass(frozen=True)
class DrawBank:
    """The S draws that one evaluation uses for every image and class.

    Attributes:
        t: (S,) int64, ascending timesteps.
        eps: (S, C, H, W) float32 standard normal noise.
    """

    t: Tensor
    eps: Tensor

    def __len__(self) -> int:
        return len(self.t)


def draw_bank(timesteps: int, steps: int, shape: tuple[int, ...], seed: int = 0) -> DrawBank:
    """Return the draws of the S-step protocol: t evenly spaced, noise seeded.

    The noise of draw s is a function of (seed, S, T, s) alone.

    Args:
        timesteps: T.
        steps: S, 1 <= S <= T.
        shape: (C, H, W) of x0.
        seed: the evaluation's seed.

    Raises:
        ValueError: S is outside 1..T.
    """
    t = spaced_timesteps(timesteps, steps)
    indices = [steps * timesteps + i for i in range(steps)]
    return DrawBank(t, standard_normal(seed, _BANK_STREAM, indices, shape))


def spaced_timesteps(timesteps: int, steps: int) -> Tensor:
    """Return (S,) int64 ``t_s = floor((s + 0.5) T / S)``.

    They cover the whole range for every S, where a stride of ``T // S`` stops short of T.

    Raises:
        ValueError: S is outside 1..T.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must be between 1 and {timesteps}, not {steps}")
    s = torch.arange(steps, dtype=torch.int64)
    return (2 * s + 1) * timesteps // (2 * steps)  # floor((s + 0.5) T / S), in integers


Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``measure(image (M,), draw (M,), prompts (M,P)) -> d (M,P)``: errors of (image, draw) pairs."""


def measure_errors(
    predict_noise: NoisePredictor,
    schedule: Schedule,
    x0: Tensor,
    bank: DrawBank,
    pairs: int = DEFAULT_PAIRS,
) -> Measure:
    """Return what measures the errors of single (image, draw) pairs of these images and draws.

    Args:
        predict_noise: the backbone.
        schedule: the noise schedule of the backbone.
        x0: (B, C, H, W) images, on the backbone's device.
        bank: S shared draws.
        pairs: most (image, draw) pairs in one call of the backbone; changes speed and memory, not
            the answer.

    Returns:
        A function of image indices (M,), draw indices (M,) and prompts (M, P), on the CPU, that
        returns the errors (M, P) float32 on the CPU.
    """
    device = x0.device
    t, eps = bank.t.to(device), bank.eps.to(device)

    @torch.inference_mode()
    def measure(image: Tensor, draw: Tensor, prompts: Tensor) -> Tensor:
        errors = torch.empty(prompts.shape)
        for start in range(0, len(image), pairs):
            part = slice(start, start + pairs)
            i, s, c = image[part].to(device), draw[part].to(device), prompts[part].to(device)
            xt = add_noise(schedule, x0[i], eps[s], t[s])  # (pairs, C, H, W)
            predicted = predict_noise(xt, t[s], c)  # (pairs, P, C, H, W)
            errors[part] = noise_error(predicted, eps[s]).cpu()
        return errors

    return measure


def class_errors(
    predict_noise: NoisePredictor,
    schedule: Schedule,
    x0: Tensor,
    bank: DrawBank,
    num_classes: int,
    pairs: int = DEFAULT_PAIRS,
) -> Tensor:
    """Return the noise-prediction error of every image under every class and draw.

    Args:
        predict_noise: the backbone; asked for the K class prompts at once.
        schedule: as for `measure_errors`.
        x0: as for `measure_errors`.
        bank: as for `measure_errors`.
        num_classes: K.
        pairs: as for `measure_errors`.

    Returns:
        (B, K, S) float32 on the CPU: ``d_c,s``.
    """
    images, steps = len(x0), len(bank)
    pair = torch.arange(images * steps)
    prompts = torch.arange(num_classes).expand(len(pair), -1)
    measure = measure_errors(predict_noise, schedule, x0, bank, pairs)
    errors = measure(pair // steps, pair % steps, prompts)
    return errors.view(images, steps, num_classes).transpose(1, 2).contiguous()


def posterior(
    errors: Tensor, scale: float, weights: Tensor | None = None, power: float = 1.0
) -> Tensor:
    """Return ``p(c | x0)``, the softmax of ``-scale * (D_c - min D)^power``, ``D = mean_s w_s d``.

    The mean is taken in float64: with many draws, near-equal classes would otherwise be
    ordered by the rounding of the sum.

    Args:
        errors: (B, K, S) from :func:`class_errors`.
        scale: inverse temperature, > 0, fitted on validation data.
        weights: (S,) ``w_s`` of mean 1; all 1 if not given.
        power: 1 is the plain softmax; fitted with the scale.

    Returns:
        (B, K) float64, rows sum to 1; its argmax is the prediction.
    """
    weighted = errors.double() if weights is None else errors.double() * weights.double()
    means = weighted.mean(dim=2)
    gaps = means - means.min(dim=1, keepdim=True).values
    return torch.softmax(-scale * gaps**power, dim=1)
