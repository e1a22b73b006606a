"""Discriminative classifiers, scored as the diffusion classifier is.

Where the diffusion classifier charges class c the noise-prediction error ``d_c,s`` for draw s, a
discriminative one charges ``-log p(c | x_s)``. Means over draws, temperature, posterior, attacks
and reports are then the same code for both, and a classifier that is shown the very draws
(t, eps), the control, differs from the diffusion classifier in nothing but what it predicts.
"""

import torch
from torch import Tensor

from emodc.backbones.base import Classifier
from emodc.method.draws import DrawBank, Shown, show
from emodc.method.errors import DEFAULT_PAIRS
from emodc.method.schedule import Schedule


def log_losses(network: Classifier, shown: Shown) -> Tensor:
    """Return ``-log p(c | x)`` for every class, with gradients to what is shown.

    Args:
        network: the classifier; one that sees noise is shown as much as a diffusion classifier.
        shown: M (image, draw) pairs.

    Returns:
        (M, K) float32.
    """
    eps = shown.rho.view(-1, 1, 1, 1) * shown.eps
    return -torch.log_softmax(network(shown.x, shown.t, eps), dim=1)


@torch.inference_mode()
def class_log_losses(
    network: Classifier,
    schedule: Schedule,
    x0: Tensor,
    bank: DrawBank,
    num_classes: int,
    pairs: int = DEFAULT_PAIRS,
    sigma: Tensor | None = None,
) -> Tensor:
    """Return what every image is charged for every class and draw.

    Args:
        network: the classifier.
        schedule: of the draws.
        x0: (B, C, H, W) images, on the network's device.
        bank: S draws, shared by all images.
        num_classes: K.
        pairs: most (image, draw) pairs in one call of the network.
        sigma: (B,) levels of the noise that the images carry, as for
            `emodc.method.errors.measure_errors`.

    Returns:
        (B, K, S) float32 on the CPU.
    """
    steps, device = len(bank), x0.device
    bank, total = bank.to(device), len(x0) * steps
    levels = torch.zeros(len(x0), device=device) if sigma is None else sigma
    losses = torch.empty(total, num_classes)
    for start in range(0, total, pairs):
        pair = torch.arange(start, min(start + pairs, total), device=device)
        shown = show(schedule, x0, levels, bank, pair // steps, pair % steps)
        part = log_losses(network, shown)  # (pairs, K)
        losses[start : start + len(part)] = part.cpu()
    return losses.view(len(x0), steps, num_classes).transpose(1, 2).contiguous()
