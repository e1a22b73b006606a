"""The diffusion classifier: the class whose prompt predicts the added noise best.

Li et al., "Your Diffusion Model is Secretly a Zero-Shot Classifier" (ICCV 2023, arXiv
2303.16203): with draws ``(t_s, eps_s)``, s = 1..S, shared by all classes and images,

    d_c,s = || eps_theta(xt(x0, eps_s, t_s), t_s, c) - eps_s ||^2,    D_c = mean_s w_s d_c,s,
    prediction = argmin_c D_c,    p(c | x0) = softmax_c(-scale * (D_c - min D)^power),

with weights ``w_s`` of mean 1, all equal unless they were fitted
(:mod:`emodc.calibration.posterior`).

An image with noise of level sigma of its own (:mod:`emodc.method.noise_level`) gets only the noise
that is missing, at the steps that are noisier than it is, and classes are compared by

    d_c,s = || rho eps_theta(xt(x, rho eps_s, t_s), t_s, c) - eps_s ||^2

(:meth:`emodc.method.schedule.Schedule.missing`); with sigma = 0 that is the formula above. What
prompts differ by enters times ``rho^2 = 1 / (1 + sigma^2 / s_t^2)``, so errors count
``1 + gain sigma^2`` times (`emodc.model.model.Model.shown_errors`): the same evidence makes the
same gap on a noisy image as on a clean one, and one temperature serves both. No answer depends on
that, only its probability.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from emodc.method.draws import DrawBank, Shown, show
from emodc.method.schedule import Schedule, add_noise, noise_error, squared_errors

NoisePredictor = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``predict_noise(xt (B,C,H,W), t (B,), prompts (B,P)) -> eps (B,P,C,H,W)``."""

DEFAULT_PAIRS = 96
"""(image, draw) pairs per call of the network: bounds memory whatever B, K and S are."""


PairErrors = Callable[[Shown, Tensor], Tensor]
"""``class_errors(shown, prompts (M,P)) -> d (M,P)``: what a network charges each prompt."""

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``measure(image (M,), draw (M,), prompts (M,P)) -> d (M,P)``: errors of (image, draw) pairs."""


def noise_errors(predict_noise: NoisePredictor, shown: Shown, prompts: Tensor) -> Tensor:
    """Return ``|| rho eps_theta(xt, t, c) - eps ||^2``, averaged over the elements.

    Args:
        predict_noise: the backbone.
        shown: M (image, draw) pairs.
        prompts: (M, P) int64.

    Returns:
        (M, P) float32, with gradients to what is shown.
    """
    return element_errors(predict_noise, shown, prompts).mean(dim=(2, 3, 4))


def element_errors(predict_noise: NoisePredictor, shown: Shown, prompts: Tensor) -> Tensor:
    """Return ``(rho eps_theta(xt, t, c) - eps)^2`` of every element; see `noise_errors`.

    Args:
        predict_noise: as for `noise_errors`.
        shown: as for `noise_errors`.
        prompts: as for `noise_errors`.

    Returns:
        (M, P, C, H, W) float32, with gradients to what is shown.
    """
    predicted = predict_noise(shown.xt, shown.t, prompts)  # (M, P, C, H, W)
    return squared_errors(shown.rho.view(-1, 1, 1, 1, 1) * predicted.float(), shown.eps)


def measure_errors(
    pair_errors: PairErrors,
    schedule: Schedule,
    x0: Tensor,
    bank: DrawBank,
    pairs: int = DEFAULT_PAIRS,
    sigma: Tensor | None = None,
) -> Measure:
    """Return what measures the errors of single (image, draw) pairs of these images and draws.

    Args:
        pair_errors: the network's.
        schedule: the noise schedule of the network.
        x0: (B, C, H, W) images, on the network's device.
        bank: S shared draws.
        pairs: most (image, draw) pairs in one call of the network; changes speed and memory, not
            the answer.
        sigma: (B,) float32 levels of the noise that the images carry, in units of x0; 0 for all if
            not given.

    Returns:
        A function of image indices (M,), draw indices (M,) and prompts (M, P), on the CPU, that
        returns the errors (M, P) float32 on the CPU.
    """
    device, bank = x0.device, bank.to(x0.device)
    levels = torch.zeros(len(x0), device=device) if sigma is None else sigma

    @torch.inference_mode()
    def measure(image: Tensor, draw: Tensor, prompts: Tensor) -> Tensor:
        errors = torch.empty(prompts.shape)
        for start in range(0, len(image), pairs):
            part = slice(start, start + pairs)
            i, s, c = image[part].to(device), draw[part].to(device), prompts[part].to(device)
            errors[part] = pair_errors(show(schedule, x0, levels, bank, i, s), c).cpu()
        return errors

    return measure


def class_errors(
    pair_errors: PairErrors,
    schedule: Schedule,
    x0: Tensor,
    bank: DrawBank,
    num_classes: int,
    pairs: int = DEFAULT_PAIRS,
    sigma: Tensor | None = None,
) -> Tensor:
    """Return the errors of every image under every class and draw.

    Args:
        pair_errors: the network's; asked for the K class prompts at once.
        schedule: as for `measure_errors`.
        x0: as for `measure_errors`.
        bank: as for `measure_errors`.
        num_classes: K.
        pairs: as for `measure_errors`.
        sigma: as for `measure_errors`.

    Returns:
        (B, K, S) float32 on the CPU: ``d_c,s``.
    """
    images, steps = len(x0), len(bank)
    pair = torch.arange(images * steps)
    prompts = torch.arange(num_classes).expand(len(pair), -1)
    measure = measure_errors(pair_errors, schedule, x0, bank, pairs, sigma)
    errors = measure(pair // steps, pair % steps, prompts)
    return errors.view(images, steps, num_classes).transpose(1, 2).contiguous()


@torch.inference_mode()
def pixel_errors(
    element_errors: PairErrors,
    schedule: Schedule,
    x0: Tensor,
    bank: DrawBank,
    num_classes: int,
    pairs: int = DEFAULT_PAIRS,
    sigma: Tensor | None = None,
) -> Tensor:
    """Return what every pixel adds to the errors of `class_errors`.

    Draws that show the mirror image are mirrored back, so that pixels are those of the image.

    Args:
        element_errors: as `PairErrors`, but of every element, (M, K, C, H, W).
        schedule: as for `measure_errors`.
        x0: as for `measure_errors`.
        bank: as for `measure_errors`.
        num_classes: K.
        pairs: as for `measure_errors`.
        sigma: as for `measure_errors`.

    Returns:
        (B, K, S, H, W) float32 on the CPU, whose sum over (H, W) is ``d_c,s``.
    """
    (images, _, height, width), steps, bank = x0.shape, len(bank), bank.to(x0.device)
    levels = torch.zeros(images, device=x0.device) if sigma is None else sigma
    parts = torch.empty(images * steps, num_classes, height, width)
    for pair in torch.split(torch.arange(images * steps, device=x0.device), pairs):
        image, draw = pair // steps, pair % steps
        prompts = torch.arange(num_classes, device=x0.device).expand(len(pair), -1)
        errors = element_errors(show(schedule, x0, levels, bank, image, draw), prompts)
        share = errors.sum(dim=2) / errors[0, 0].numel()  # (M, K, H, W)
        mirrored = bank.mirrored[draw].view(-1, 1, 1, 1)
        parts[pair.cpu()] = torch.where(mirrored, share.flip(-1), share).cpu()
    return parts.view(images, steps, num_classes, height, width).transpose(1, 2)


@torch.inference_mode()
def one_by_one(
    predict_noise: NoisePredictor,
    schedule: Schedule,
    x0: Tensor,
    bank: DrawBank,
    num_classes: int,
    batch: int = 32,
) -> Tensor:
    """Return the mean errors as Algorithm 1 of Li et al. computes them, to check the rest by.

    Image by image and class by class; images carry no noise, and none is mirrored.

    Args:
        predict_noise: the backbone, on the CPU.
        schedule: as for `measure_errors`.
        x0: as for `measure_errors`.
        bank: as for `measure_errors`.
        num_classes: K.
        batch: draws in one call of the backbone.

    Returns:
        (B, K) float64, whose argmin is the answer.
    """
    means = torch.zeros(len(x0), num_classes, dtype=torch.float64)
    draws = list(zip(torch.split(bank.t, batch), torch.split(bank.eps, batch), strict=True))
    for image, x in enumerate(x0):
        for c in range(num_classes):
            for t, eps in draws:
                xt = add_noise(schedule, x.expand_as(eps), eps, t)
                predicted = predict_noise(xt, t, torch.full((len(t), 1), c))
                means[image, c] += noise_error(predicted, eps).double().sum() / len(bank)
    return means


def class_logits(means: Tensor, scale: float, power: float = 1.0) -> Tensor:
    """Return ``-scale * (D_c - min D)^power``, whose softmax is the posterior.

    Args:
        means: (B, K) ``D_c``.
        scale: inverse temperature, > 0.
        power: 1 is the plain softmax; below 1 the gradient at the least error is infinite.
    """
    gaps = means - means.min(dim=1, keepdim=True).values
    return -scale * gaps**power


def mean_errors(errors: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return ``D_c = mean_s w_s d_c,s``, (B, K, S) -> (B, K) float64, with gradients.

    The mean is taken in float64: with many draws, near-equal classes would otherwise be
    ordered by the rounding of the sum.

    Args:
        errors: (B, K, S).
        weights: (S,) ``w_s`` of mean 1; all 1 if not given.
    """
    weighted = errors.double() if weights is None else errors.double() * weights.double()
    return weighted.mean(dim=2)


def posterior(
    errors: Tensor, scale: float, weights: Tensor | None = None, power: float = 1.0
) -> Tensor:
    """Return ``p(c | x0)``, the softmax of ``-scale * (D_c - min D)^power``, ``D = mean_s w_s d``.

    Args:
        errors: (B, K, S) from :func:`class_errors`.
        scale: inverse temperature, > 0, fitted on validation data.
        weights: (S,) ``w_s`` of mean 1; all 1 if not given.
        power: 1 is the plain softmax; fitted with the scale.

    Returns:
        (B, K) float64, rows sum to 1; its argmax is the prediction.
    """
    return torch.softmax(class_logits(mean_errors(errors, weights), scale, power), dim=1)
