import pytest
import torch
from torch import Tensor

from emodc.model.adaptive import Stop
from emodc.model.decision import Decision

TIMESTEPS = 100


def errors(images: int = 20) -> tuple[Tensor, Tensor]:
    """Errors (N, 5, 4) and their timesteps (4,)."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(images, 5, 4, generator=generator), torch.tensor([10, 40, 60, 90])


def by_hand(decision: Decision, d: Tensor, weights: list[float]) -> Tensor:
    means = (d.double() * torch.tensor(weights, dtype=torch.float64)).sum(dim=2) / 4
    gaps = means - means.min(dim=1, keepdim=True).values
    return torch.softmax(-decision.scale * gaps**decision.power, dim=1)


@pytest.mark.parametrize("power", [1.0, 0.6])
def test_the_rule_is_the_equation(power: float) -> None:
    decision = Decision(scale=7.0, power=power, weights=(3.0, 1.0))
    d, t = errors()
    expected = by_hand(decision, d, [1.5, 1.5, 0.5, 0.5])
    torch.testing.assert_close(decision.probabilities(d, t, TIMESTEPS), expected)


def test_the_logits_are_the_plain_posterior_and_order_as_any_power_does() -> None:
    d, t = errors()
    plain = Decision(scale=7.0, weights=(3.0, 1.0))
    logits = plain.logits(d, t, TIMESTEPS)
    torch.testing.assert_close(torch.softmax(logits, dim=1), plain.probabilities(d, t, TIMESTEPS))
    bent = plain.model_copy(update={"power": 0.6})
    assert torch.equal(bent.logits(d, t, TIMESTEPS), logits)
    order = bent.probabilities(d, t, TIMESTEPS).argsort(dim=1)
    assert torch.equal(logits.argsort(dim=1), order)


def test_logits_have_the_gradient_of_every_draw() -> None:
    decision = Decision(scale=7.0, power=0.6, weights=(3.0, 1.0))
    d, t = errors(2)
    d.requires_grad_()
    (slope,) = torch.autograd.grad(decision.logits(d, t, TIMESTEPS)[:, 2].sum(), d)
    expected = torch.zeros_like(slope)
    expected[:, 2] = -7.0 * torch.tensor([1.5, 1.5, 0.5, 0.5]) / 4
    torch.testing.assert_close(slope, expected)


def test_a_stop_decides_as_all_draws_would() -> None:
    d, t = errors()
    decision = Decision(scale=7.0, power=0.6)
    means = d.double().mean(dim=2)
    stop = Stop(delta=0.01, threshold=2.0, scale=7.0, power=0.6, least_probability=(0.1,))
    gaps = means - means.min(dim=1, keepdim=True).values
    torch.testing.assert_close(stop.probabilities(gaps), decision.probabilities(d, t, TIMESTEPS))
