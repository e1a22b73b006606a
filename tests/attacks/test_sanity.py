from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from emodc.attacks.gradient import GradientAttack
from emodc.attacks.sanity import (
    Finding,
    agree,
    check_attack,
    gradients_are_usable,
    gradients_point_uphill,
    never_helps,
    unbounded_attack_wins,
)
from emodc.attacks.search import FixedDraws, FreshDraws
from emodc.attacks.threat_model import NORMS, Images, Norm
from emodc.attacks.victims import Victim, network_victim
from tests.attacks.conftest import noisy

EPS: dict[Norm, float] = {"linf": 0.11, "l2": 0.72}
ATTACK = GradientAttack(loss="ce", steps=10)


def failed(findings: list[Finding]) -> set[str]:
    return {finding.check for finding in findings if not finding.passed}


@pytest.mark.parametrize("norm", NORMS)
def test_an_honest_attack_passes(norm: Norm, victim: Victim, images: Images) -> None:
    findings = check_attack(ATTACK, victim, images, EPS[norm], norm, FixedDraws())
    assert not failed(findings)
    assert len(findings) == 6
    assert all(finding.detail for finding in findings)


def test_an_honest_attack_on_fresh_draws_passes(victim: Victim, images: Images) -> None:
    defended = noisy(lambda x: victim.answer(x, 0), 0.5)
    findings = check_attack(
        ATTACK, defended, images, 0.11, "linf", FreshDraws(eot=2), evaluations=3, queries=50
    )
    assert not failed(findings)
    assert any("EOT" in finding.check for finding in findings)


def rounded(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Rounding has no gradient."""
    return lambda x: network((6 * x).round() / 6)


def saturated(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """So certain that the cross-entropy is flat."""
    return lambda x: 1e6 * network(x)


def shattered(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Ripples on the pixels bend the gradient; the answers hardly change."""
    return lambda x: network(x + 3e-4 * torch.sin(1e5 * x))


def misleading(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The answers of the network, with the gradient of something else."""

    def answer(x: Tensor) -> Tensor:
        false = x.flatten(1) @ torch.randn(
            64, 5, dtype=x.dtype, generator=torch.Generator().manual_seed(0)
        )
        answer: Tensor = network(x)
        return answer.detach() + false - false.detach()

    return answer


@pytest.mark.parametrize("mask", [rounded, saturated, shattered, misleading])
def test_a_masked_gradient_is_flagged(
    mask: Callable[[nn.Module], Callable[[Tensor], Tensor]], network: nn.Module, images: Images
) -> None:
    masked = network_victim(mask(network))
    findings = check_attack(ATTACK, masked, images, EPS["linf"], "linf", FixedDraws())
    assert any("gradient" in check for check in failed(findings))


def test_what_a_gradient_attack_misses_the_black_box_finds(
    network: nn.Module, images: Images
) -> None:
    masked = network_victim(misleading(network))
    findings = check_attack(ATTACK, masked, images, 0.15, "linf", FixedDraws(), queries=400)
    assert "white-box instead of black-box never helps the defence" in failed(findings)


def test_a_victim_without_gradient_is_flagged_by_the_gradient_checks(
    victim: Victim, images: Images
) -> None:
    def opaque(pixels: Tensor, seed: int) -> Tensor:
        return victim.answer(pixels, seed).detach()

    assert not gradients_are_usable(Victim(opaque), images, FixedDraws()).passed
    assert not gradients_point_uphill(Victim(opaque), images, FixedDraws()).passed


def test_gradients_that_are_no_number_are_flagged(victim: Victim, images: Images) -> None:
    broken = network_victim(lambda x: victim.answer(x, 0) + 0 * (x - x).norm().sqrt())
    finding = gradients_are_usable(broken, images, FixedDraws())
    assert not finding.passed
    assert "20 not finite" in finding.detail


def test_an_unbounded_attack_must_win() -> None:
    assert unbounded_attack_wins(torch.zeros(10).bool()).passed
    assert not unbounded_attack_wins(torch.tensor([False] * 9 + [True])).passed


def test_luck_is_told_from_harm() -> None:
    weak = torch.tensor([True] * 30 + [False] * 30)
    assert never_helps("it", weak, weak).passed
    assert never_helps("it", weak, torch.zeros(60).bool()).passed
    assert never_helps("it", weak, weak.roll(3)).passed  # 3 up, 3 down
    helped = weak.clone()
    helped[30:40] = True
    finding = never_helps("it", weak, helped)
    assert not finding.passed
    assert "10 images more robust, 0 less" in finding.detail


def test_another_implementation_may_not_find_more() -> None:
    own = torch.arange(40) < 20
    assert agree("other", own, own).passed
    assert agree("other", own, torch.arange(40) < 10).passed
    assert not agree("other", own, torch.ones(40).bool()).passed
