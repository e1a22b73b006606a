import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emodc.method.loss import Batch, sample_loss, training_prompts
from emodc.method.objectives import AMDiT, Base, CrossEntropy
from emodc.method.schedule import ShiftedCosine, add_noise

SCHEDULE = ShiftedCosine().build()
CLASSES = 7

Reference = Literal["positive", "null", "non_class"]


def a_batch(c_p: list[int], replaced: list[int]) -> Batch:
    size, g = len(c_p), torch.Generator().manual_seed(0)
    return Batch(
        x0=torch.randn(size, 1, 2, 2, generator=g),
        c_p=torch.tensor(c_p),
        t=torch.arange(size) * 100,
        eps=torch.randn(size, 1, 2, 2, generator=g),
        replaced=torch.tensor(replaced),
        u=torch.linspace(0, 0.999, size),
        augmentation=torch.zeros(size, 6),
    )


def test_prompts_of_each_objective() -> None:
    batch = a_batch([1, 0], [-1, 3])
    assert training_prompts(batch, Base(), 3).tolist() == [[1], [3]]
    assert training_prompts(batch, AMDiT(negatives="all"), 3).tolist() == [[1, 0, 2], [3, 1, 2]]
    null = AMDiT(negatives="all", reference="null")
    assert training_prompts(batch, null, 3).tolist() == [[1, 0, 2, 3], [3, 1, 2, 3]]
    one = training_prompts(batch, AMDiT(reference="non_class"), 3)
    assert one.shape == (2, 3)
    assert one[:, 2].tolist() == [4, 4]
    assert (one[:, 1] != batch.c_p).all()


class KnownErrors(torch.nn.Module):
    """Predicts noise that is off by the square root of a known error for every prompt."""

    errors = torch.tensor([0.3, 0.5, 0.7, 0.2, 0.9, 0.4, 0.6, 0.8, 0.1])  # 7 classes, null, c_nc

    def __init__(self, eps: Tensor) -> None:
        super().__init__()
        self.eps = eps
        self.constant: list[int] = []

    def forward(
        self, xt: Tensor, t: Tensor, prompts: Tensor, constant: int, augmentation: Tensor
    ) -> tuple[Tensor, Tensor]:
        self.constant.append(constant)
        off = self.errors[prompts].sqrt()[:, :, None, None, None]
        return self.eps.unsqueeze(1) + off, torch.zeros(len(xt), CLASSES)


@pytest.mark.parametrize(
    ("reference", "d_nn"), [("positive", None), ("null", 0.8), ("non_class", 0.1)]
)
def test_the_loss_is_the_equation(reference: Reference, d_nn: float | None) -> None:
    objective = AMDiT(negatives="all", reference=reference, weight=2.0, alpha=0.5)
    batch = a_batch([0, 1, 2, 3, 4, 5, 6, 3], [-1] * 8)
    network = KnownErrors(batch.eps)
    loss, metrics = sample_loss(network, SCHEDULE, batch, objective, CLASSES, 3.0)
    by_hand = []
    for c_p in batch.c_p.tolist():
        d = KnownErrors.errors[:CLASSES].tolist()
        margin = 0.5 * (d[c_p] if d_nn is None else d_nn)
        hinges = [max(0.0, d[c_p] - d[c_n] + margin) for c_n in range(CLASSES) if c_n != c_p]
        by_hand.append(d[c_p] + 2.0 * sum(hinges) / 6)
    expected = sum(by_hand) / len(by_hand)
    total, count = metrics["loss"].tolist()
    assert total / count == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(expected + 3.0 * math.log(CLASSES), rel=1e-5)


def test_all_negatives_can_count_by_class_frequency() -> None:
    frequency = torch.tensor([0.4, 0.2, 0.1, 0.1, 0.1, 0.06, 0.04])
    objective = AMDiT(negatives="all", negative_prior="frequency", weight=2.0, alpha=0.5)
    batch = a_batch([0, 4, 6], [-1, -1, 7])  # the last one teaches the null prompt alone
    network = KnownErrors(batch.eps)
    loss, _ = sample_loss(
        network, SCHEDULE, batch, objective, CLASSES, frequency=frequency.double()
    )
    d, f = KnownErrors.errors.tolist(), frequency.tolist()
    by_hand = [d[7]]
    for c_p in (0, 4):
        hinges = [f[c] * max(0.0, 1.5 * d[c_p] - d[c]) for c in range(CLASSES) if c != c_p]
        by_hand.append(d[c_p] + 2.0 * sum(hinges) / (1 - sum(share**2 for share in f)))
    assert loss.item() == pytest.approx(sum(by_hand) / 3, rel=1e-5)


def test_a_frequent_class_is_a_frequent_negative() -> None:
    batch = a_batch([2] * 1000, [-1] * 1000)
    frequency = torch.tensor([0.7, 0.1, 0.1, 0.1])
    objective = AMDiT(negative_prior="frequency")
    drawn = training_prompts(batch, objective, 4, frequency)[:, 1]
    assert (drawn == 0).double().mean() == pytest.approx(7 / 9, abs=0.01)
    with pytest.raises(ValueError, match="frequencies"):
        training_prompts(batch, objective, 4)


def test_noise_levels_are_weighted() -> None:
    batch = a_batch([0, 1, 2, 3], [-1] * 4)
    network = KnownErrors(batch.eps)
    loss, _ = sample_loss(network, SCHEDULE, batch, Base(), CLASSES, level_weight="v")
    weights = 1 + SCHEDULE.sigma(batch.t).square()
    torch.testing.assert_close(loss, (weights * KnownErrors.errors[:4]).mean())
    assert float(weights.max()) > 1.01


@pytest.mark.parametrize("reference", ["positive", "null", "non_class"])
def test_replaced_prompts_learn_by_their_error_alone(reference: Reference) -> None:
    """With every prompt replaced, an enormous hinge must not matter."""
    batch = a_batch([0, 1, 2, 3], [7, 8, 7, 8])

    def loss(weight: float) -> float:
        objective = AMDiT(reference=reference, weight=weight, alpha=100.0)
        return sample_loss(KnownErrors(batch.eps), SCHEDULE, batch, objective, CLASSES)[0].item()

    assert loss(1.0) == loss(1e6) == pytest.approx((0.8 + 0.1) / 2, rel=1e-5)
    named = replace(batch, replaced=torch.full((4,), -1))
    objective = AMDiT(reference=reference, weight=1e6, alpha=100.0)
    assert sample_loss(KnownErrors(batch.eps), SCHEDULE, named, objective, CLASSES)[0] > 1e6


@pytest.mark.parametrize(("reference", "constant"), [("positive", 0), ("null", 1)])
def test_only_a_detached_reference_needs_no_graph(reference: Reference, constant: int) -> None:
    batch = a_batch([0, 1], [-1, -1])
    network = KnownErrors(batch.eps)
    for detach in (True, False):
        objective = AMDiT(reference=reference, detach_reference=detach)
        sample_loss(network, SCHEDULE, batch, objective, CLASSES)
    sample_loss(network, SCHEDULE, batch, Base(), CLASSES)
    assert network.constant == [constant, 0, 0]


def test_a_discriminative_network_is_shown_image_and_noised_image() -> None:
    class Linear(torch.nn.Module):
        def forward(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
            torch.testing.assert_close(xt, add_noise(SCHEDULE, batch.x0, batch.eps, batch.t))
            return torch.cat([x0.flatten(1), xt.flatten(1)[:, :3]], dim=1)

    batch = a_batch([0, 5, 2, 6], [-1, 7, -1, -1])
    loss, metrics = sample_loss(Linear(), SCHEDULE, batch, CrossEntropy(), CLASSES)
    logits = Linear()(batch.x0, add_noise(SCHEDULE, batch.x0, batch.eps, batch.t), batch.t)
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch.c_p))
    right = float((logits.argmax(dim=1) == batch.c_p).sum())
    assert metrics["training_accuracy"].tolist() == [right, 4]
