import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emodc.attacks.losses import LossName, attack_loss, margin

LOGITS = torch.tensor([[3.0, 1.0, 0.0, -1.0], [0.0, 2.0, 1.0, 1.5]])
LABELS = torch.tensor([0, 2])


def test_the_margin_is_positive_where_the_answer_is_wrong() -> None:
    assert margin(LOGITS, LABELS).tolist() == [-2.0, 1.0]


def test_the_losses_by_hand() -> None:
    assert attack_loss("dlr", LOGITS, LABELS).tolist() == pytest.approx([-2 / 3, 1.0])
    aimed = attack_loss("dlr", LOGITS, LABELS, torch.tensor([1, 3]))
    assert aimed.tolist() == pytest.approx([-2 / 3.5, 0.5 / 1.5])
    p = torch.softmax(LOGITS, dim=1)
    expected = -p[[0, 1], [0, 2]].log()
    torch.testing.assert_close(attack_loss("ce", LOGITS, LABELS), expected)
    aimed = attack_loss("ce", LOGITS, LABELS, torch.tensor([1, 3]))
    torch.testing.assert_close(aimed, p[[0, 1], [1, 3]].log())


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_dlr_knows_neither_scale_nor_level(seed: int, scale: float, level: float) -> None:
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels, targets = torch.tensor([0, 1, 2, 3]), torch.tensor([5, 4, 3, 2])
    for aims in (None, targets):
        torch.testing.assert_close(
            attack_loss("dlr", scale * z + level, labels, aims), attack_loss("dlr", z, labels, aims)
        )


@pytest.mark.parametrize("name", ["ce", "dlr"])
@pytest.mark.parametrize("aimed", [False, True])
def test_the_gradient_takes_from_the_true_class(name: LossName, aimed: bool) -> None:
    z = LOGITS[:1].clone().requires_grad_()
    value = attack_loss(name, z, LABELS[:1], torch.tensor([2]) if aimed else None)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert float(gradient[0, 0]) < 0
    assert float(gradient[0, 2 if aimed else 1]) > 0


def test_too_few_classes_for_dlr_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 3 classes, not 2: use the loss ce"):
        attack_loss("dlr", torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match="needs 4 classes, not 3"):
        attack_loss("dlr", torch.zeros(1, 3), torch.tensor([0]), torch.tensor([1]))
