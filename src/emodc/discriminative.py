"""Discriminative classifiers, scored as the diffusion classifier is.

Where the diffusion classifier charges class c the noise-prediction error ``d_c,s`` for draw s, a
discriminative one charges ``-log p(c | x_s)``. Means over draws, temperature, posterior, attacks
and reports are then the same code for both, and a classifier that is shown the very draws
(t, eps), the control, differs from the diffusion classifier in nothing but what it predicts.
"""

import torch
from torch import Tensor

from emodc.backbones.base import Classifier
from emodc.classifier import DEFAULT_PAIRS, DrawBank


def log_losses(network: Classifier, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Return ``-log p(c | x)`` for every class: (B, K) float32, with gradients to the pictures.

    Args:
        network: the classifier.
        x0: (B, C, H, W) clean images.
        t: (B,) int64 timesteps of the draws.
        eps: (B, C, H, W) noise of the draws.
    """
    return -torch.log_softmax(network(x0, t, eps), dim=1)


@torch.inference_mode()
def class_log_losses(
    network: Classifier,
    x0: Tensor,
    bank: DrawBank,
    num_classes: int,
    pairs: int = DEFAULT_PAIRS,
) -> Tensor:
    """Return what every image is charged for every class and draw.

    Args:
        network: the classifier.
        x0: (B, C, H, W) images, on the network's device.
        bank: S draws, shared by all images.
        num_classes: K.
        pairs: most (image, draw) pairs in one call of the network.

    Returns:
        (B, K, S) float32 on the CPU, or (B, K, 1) if the network sees no noise: then all draws
        are alike.
    """
    steps = len(bank) if network.sees_noise else 1
    t, eps = bank.t.to(x0.device), bank.eps.to(x0.device)
    total = len(x0) * steps
    losses = torch.empty(total, num_classes)
    for start in range(0, total, pairs):
        pair = torch.arange(start, min(start + pairs, total), device=x0.device)
        image, draw = pair // steps, pair % steps
        part = log_losses(network, x0[image], t[draw], eps[draw])  # (pairs, K)
        losses[start : start + len(part)] = part.cpu()
    return losses.view(len(x0), steps, num_classes).transpose(1, 2).contiguous()
