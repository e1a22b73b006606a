"""What gradient attacks climb: functions of logits that are high where the answer is wrong."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["ce", "dlr"]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the best wrong class leads the true one, (B,): positive when fooled.

    Args:
        logits: (B, K).
        labels: (B,) int64, true classes.
    """
    true = F.one_hot(labels, logits.shape[1]).bool()
    best_wrong = logits.masked_fill(true, -torch.inf).max(dim=1).values
    return best_wrong - _of(logits, labels)


def attack_loss(
    name: LossName, logits: Tensor, labels: Tensor, targets: Tensor | None = None
) -> Tensor:
    """Return the loss that an attack raises.

    ``ce`` is the cross-entropy; it goes flat where a class is certain. ``dlr``, the difference of
    logits ratio (Croce & Hein, ICML 2020, Eqs. 6 and 7), does not change when the logits are
    scaled and shifted, so no choice of the posterior's scale can hide the gradient:

        (max_{c != y} z_c - z_y) / (z_(1) - z_(3)),
        targeted: (z_target - z_y) / (z_(1) - (z_(3) + z_(4)) / 2),

    with ``z_(i)`` the i-th greatest logit.

    Args:
        name: which.
        logits: (B, K).
        labels: (B,) int64, true classes.
        targets: (B,) int64, the wrong classes to be reached; any wrong class if not given.

    Returns:
        (B,).

    Raises:
        ValueError: ``dlr`` and fewer than 3 classes, or 4 with targets.
    """
    if name == "ce":
        if targets is None:
            return F.cross_entropy(logits, labels, reduction="none")
        return -F.cross_entropy(logits, targets, reduction="none")
    least = 3 if targets is None else 4
    if logits.shape[1] < least:
        raise ValueError(
            f"the dlr loss needs {least} classes, not {logits.shape[1]}: use the loss ce"
        )
    z = logits.sort(dim=1, descending=True).values
    if targets is None:
        return margin(logits, labels) / (z[:, 0] - z[:, 2]).clamp_min(_TINY)
    span = z[:, 0] - (z[:, 2] + z[:, 3]) / 2
    return (_of(logits, targets) - _of(logits, labels)) / span.clamp_min(_TINY)


_TINY = 1e-12  # a network that answers all classes alike has no span


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return (B,) the logits of one class for each image."""
    return logits.gather(1, classes.unsqueeze(1)).squeeze(1)
