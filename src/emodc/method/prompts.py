"""Prompt ids: classes 0..K-1 in label order, null = K, non-class = K + 1."""

import torch
from torch import Tensor


def null_prompt(num_classes: int) -> int:
    """Return the id of the null prompt (empty text): no condition at all."""
    return num_classes


def non_class_prompt(num_classes: int) -> int:
    """Return the id of the non-class prompt c_nc ("a photo of a face"): no expression named."""
    return num_classes + 1


def other_classes(c_p: Tensor, num_classes: int) -> Tensor:
    """Return every class but the true one, in label order.

    Args:
        c_p: (B,) int64, true classes in 0..K-1.
        num_classes: K.

    Returns:
        (B, K-1) int64, the negatives c_n of each sample.
    """
    step = torch.arange(1, num_classes, device=c_p.device)
    return ((c_p.unsqueeze(1) + step) % num_classes).sort(dim=1).values


def draw_negative(c_p: Tensor, num_classes: int, u: Tensor) -> Tensor:
    """Return one class drawn uniformly from the others, the paper's c_n.

    Args:
        c_p: (B,) int64, true classes.
        num_classes: K.
        u: (B,) uniform numbers in [0, 1) that decide the draw.

    Returns:
        (B, 1) int64, never equal to c_p.
    """
    step = 1 + (u * (num_classes - 1)).long().clamp(max=num_classes - 2)
    return ((c_p + step) % num_classes).unsqueeze(1)
