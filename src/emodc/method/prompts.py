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


def draw_frequent_negative(c_p: Tensor, frequency: Tensor, u: Tensor) -> Tensor:
    """Return one class drawn from the others in proportion to its frequency.

    It is the true class of another sample, if that differs.

    Args:
        c_p: (B,) int64, true classes.
        frequency: (K,) float, how often each class is the true one; positive for two at least.
        u: (B,) uniform numbers in [0, 1) that decide the draw.

    Returns:
        (B, 1) int64, never equal to c_p.
    """
    others = frequency.double().repeat(len(c_p), 1)  # (B, K)
    others.scatter_(1, c_p.unsqueeze(1), 0.0)
    edges = others.cumsum(dim=1)  # (B, K)
    below_one = u.double().clamp(max=1 - 2.0**-32)  # float32 can have rounded u up to 1
    return torch.searchsorted(edges, below_one.unsqueeze(1) * edges[:, -1:], right=True)


def negative_weights(c_p: Tensor, c_n: Tensor, frequency: Tensor, *, drawn: bool) -> Tensor:
    """Return what each negative counts for, so that pairs of classes count for the same both ways.

    The pair (true class a, negative b) then counts ``f_a f_b`` on average, as (b, a) does. A
    negative that was drawn by `draw_frequent_negative` came with probability ``f_b / (1 - f_a)``,
    so it counts ``1 - f_a``; one of all K - 1 counts ``(K - 1) f_b`` in their mean. Both are
    divided by their mean over the samples, ``1 - sum f^2``, so the weight of the objective means
    what it means under uniform negatives.

    Args:
        c_p: (B,) int64, true classes.
        c_n: (B, N) int64, negatives.
        frequency: (K,) float, how often each class is the true one; sums to 1.
        drawn: whether the negatives were drawn by frequency; otherwise they are all others.

    Returns:
        (B, N) float32.
    """
    raw = 1 - frequency[c_p].unsqueeze(1) if drawn else frequency[c_n] * c_n.shape[1]  # (B, N or 1)
    return (raw / (1 - frequency.square().sum())).expand(c_n.shape).float()
