"""The training loss: samples -> prompts -> d_p, d_n, d_nn -> loss."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodc.method.objectives import CrossEntropy, Objective
from emodc.method.prompts import (
    draw_frequent_negative,
    draw_negative,
    negative_weights,
    non_class_prompt,
    null_prompt,
    other_classes,
)
from emodc.method.schedule import LevelWeight, Schedule, add_noise, level_weights, noise_error


@dataclass(frozen=True)
class Batch:
    """Training samples.

    Attributes:
        x0: (B, C, H, W) float32 images, augmented and encoded.
        c_p: (B,) int64 true classes.
        t: (B,) int64 timesteps.
        eps: (B, C, H, W) float32 noise.
        replaced: (B,) int64, the null or non-class prompt that stands in for the true class
            in this sample, or -1.
        u: (B,) float32, uniform numbers that decide the drawn negative.
        augmentation: (B, 6) float32, how the images were changed, see `emodc.training.augment`.
    """

    x0: Tensor
    c_p: Tensor
    t: Tensor
    eps: Tensor
    replaced: Tensor
    u: Tensor
    augmentation: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})

    def split(self, size: int) -> list["Batch"]:
        """Return the batch in parts of at most this many samples; whole if 0."""
        whole = len(self.x0)
        starts = range(0, whole, size or max(whole, 1))
        return [
            Batch(**{name: value[n : n + starts.step] for name, value in vars(self).items()})
            for n in starts
        ]


def sample_loss(
    network: nn.Module,
    schedule: Schedule,
    batch: Batch,
    objective: Objective,
    num_classes: int,
    auxiliary_weight: float = 0.0,
    level_weight: LevelWeight = "eps",
    frequency: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean loss of a batch, and what to report of it.

    One sample shares ``x0, t, eps`` over all its prompts. A sample whose class prompt was
    replaced by the null or the non-class prompt teaches that prompt, by ``d_p`` alone.

    Args:
        network: called as `emodc.backbones.base.Backbone.forward` or, under cross-entropy, as
            `emodc.backbones.base.Classifier.forward` says.
        schedule: the network's.
        batch: B samples.
        objective: from errors to losses.
        num_classes: K.
        auxiliary_weight: of the cross-entropy of the auxiliary classification head.
        level_weight: what the errors of a noise level count for.
        frequency: (K,) float, how often each class is the true one; needed only by objectives
            whose negatives go by it.

    Returns:
        The loss, and metrics by name: sum over the samples and their number, (2,).
    """
    xt = add_noise(schedule, batch.x0, batch.eps, batch.t)  # (B, C, H, W)
    if isinstance(objective, CrossEntropy):
        return _class_loss(network(batch.x0, xt, batch.t), batch.c_p, objective)
    prompts = training_prompts(batch, objective, num_classes, frequency)  # (B, P)
    has_reference = objective.reference != "positive"
    constant = int(has_reference and objective.detach_reference)  # prompts without a graph
    # (B, P, C, H, W), (B, K)
    eps_theta, logits = network(xt, batch.t, prompts, constant, batch.augmentation)
    d = noise_error(eps_theta, batch.eps)  # (B, P)
    d_p = d[:, 0]
    d_n, d_nn = (d[:, 1:-1], d[:, -1]) if has_reference else (d[:, 1:], d_p)
    weights = None
    if objective.negative_prior == "frequency":
        c_n, drawn = prompts[:, 1 : 1 + d_n.shape[1]], objective.negatives == "one"
        weights = negative_weights(batch.c_p, c_n, _known(frequency), drawn=drawn)  # (B, N)

    named = batch.replaced < 0  # (B,)
    everyone = torch.ones_like(named)
    losses = torch.where(named, objective(d_p, d_n, d_nn, weights), d_p)  # (B,)
    losses = losses * level_weights(schedule, batch.t, level_weight)
    auxiliary = torch.zeros_like(d_p)  # (B,)
    if logits is not None:
        auxiliary = F.cross_entropy(logits.float(), batch.c_p, reduction="none")
    reported = {"loss": (losses, everyone), "d_p": (d_p, everyone)}
    if d_n.shape[1]:
        reported["training_accuracy"] = ((d_p.unsqueeze(1) < d_n).all(dim=1) & named, named)
    if auxiliary_weight:
        reported["trunk"] = (auxiliary, everyone)
    return losses.mean() + auxiliary_weight * auxiliary.mean(), _sums(reported)


def _class_loss(
    logits: Tensor, c_p: Tensor, objective: CrossEntropy
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the same from the logits (B, K) of a discriminative classifier."""
    d_p = F.cross_entropy(logits, c_p, reduction="none")  # (B,), -log p(c_p | x)
    losses = objective(d_p, d_p.new_empty(len(d_p), 0), d_p)  # no negatives
    right = logits.argmax(dim=1) == c_p
    everyone = torch.ones_like(right)
    return losses.mean(), _sums(
        {"loss": (losses, everyone), "training_accuracy": (right, everyone)}
    )


def training_prompts(
    batch: Batch, objective: Objective, num_classes: int, frequency: Tensor | None = None
) -> Tensor:
    """Return the prompts that an objective needs evaluated.

    Args:
        batch: B samples.
        objective: says which negatives and which reference.
        num_classes: K.
        frequency: see `sample_loss`.

    Returns:
        (B, P) int64: the true class or what replaces it, then the negatives, then the reference
        prompt unless it is the true class.
    """
    first = torch.where(batch.replaced >= 0, batch.replaced, batch.c_p).unsqueeze(1)
    columns = [first]
    if objective.negatives == "one" and objective.negative_prior == "frequency":
        columns.append(draw_frequent_negative(batch.c_p, _known(frequency), batch.u))
    elif objective.negatives == "one":
        columns.append(draw_negative(batch.c_p, num_classes, batch.u))
    elif objective.negatives == "all":
        columns.append(other_classes(batch.c_p, num_classes))
    if objective.reference == "null":
        columns.append(torch.full_like(first, null_prompt(num_classes)))
    elif objective.reference == "non_class":
        columns.append(torch.full_like(first, non_class_prompt(num_classes)))
    return torch.cat(columns, dim=1)


def _known(frequency: Tensor | None) -> Tensor:
    if frequency is None:
        raise ValueError("negatives by class frequency need the frequencies")
    return frequency


def _sums(reported: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.stack([values.detach().sum(), among.sum()])
        for name, (values, among) in reported.items()
    }
