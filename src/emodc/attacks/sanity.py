"""Checks that an attack is sound: a defense that fails one is not robust, only badly attacked.

The list follows Athalye et al., "Obfuscated gradients give a false sense of security" (ICML 2018,
section 3.1), and Carlini et al., "On evaluating adversarial robustness" (arXiv 1902.06705).
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emodc.attacks.gradient import GradientAttack, ball_around
from emodc.attacks.losses import attack_loss, margin
from emodc.attacks.search import Attack, Draws, FreshDraws, loss_gradient
from emodc.attacks.square import Square
from emodc.attacks.threat_model import Images, Norm, distances, full_range
from emodc.attacks.victims import Victim, predictions

_STREAM = 0x5A17E  # of `counter_rng`
_PROBE = 1e-3  # how far from the images gradients are tested, in units of the full range
_CERTAIN = 0.01  # chance at which a difference between two attacks is no longer taken for luck


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: what was asked.
        passed: whether the attack is sound in this respect.
        detail: the numbers behind it.
    """

    check: str
    passed: bool
    detail: str


def check_attack(
    attack: GradientAttack,
    victim: Victim,
    images: Images,
    eps: float,
    norm: Norm,
    draws: Draws,
    *,
    queries: int = 200,
    evaluations: int = 1,
    seed: int = 0,
) -> list[Finding]:
    """Return the findings of all checks.

    Args:
        attack: the white-box attack that the robust accuracy is reported for.
        victim: what is attacked.
        images: B images; some tens are enough.
        eps: the greatest distance from the clean image.
        norm: how distance is measured.
        draws: the draws behind the victim's answers.
        queries: of the black-box attack.
        evaluations: by the deployed rule; more than one tells something for fresh draws only.
        seed: of the attacks.
    """
    seeds = draws.defender(evaluations)

    def robust(attacker: Attack, size: float, against: Draws = draws) -> Tensor:
        found = attacker(victim, images, size, norm, against, seed)
        answers = predictions(victim, found.pixels, seeds)  # (B, R)
        return (answers == images.labels.unsqueeze(1)).double().mean(dim=1)

    usual = robust(attack, eps)
    findings = [
        gradients_are_usable(victim, images, draws, seed=seed),
        gradients_point_uphill(victim, images, draws, seed=seed),
        unbounded_attack_wins(robust(attack, full_range(images.pixels, norm))),
        never_helps("a larger epsilon", usual, robust(attack, 2 * eps)),
        never_helps("more steps", usual, robust(replace(attack, steps=2 * attack.steps), eps)),
        never_helps("white-box instead of black-box", robust(Square(queries=queries), eps), usual),
    ]
    if isinstance(draws, FreshDraws):
        more = replace(draws, eot=2 * draws.eot)
        findings.append(never_helps("more EOT samples", usual, robust(attack, eps, more)))
    return findings


def unbounded_attack_wins(robust: Tensor) -> Finding:
    """Check that no image stands up to an attack that may show any image at all.

    Args:
        robust: (B,) whether, or in what share of evaluations, each image was still classified
            correctly at the full range of epsilon.
    """
    share = float(robust.double().mean())
    chance = f"accuracy {share:.3f} at the full range of epsilon, 0 expected"
    return Finding("an unbounded attack always succeeds", share <= _CERTAIN, chance)


def never_helps(what: str, before: Tensor, after: Tensor) -> Finding:
    """Check that giving the attacker more does not make the defense more robust, beyond luck.

    Args:
        what: the attacker was given.
        before: (B,) robustness of each image to the weaker attack, in [0, 1].
        after: (B,) robustness of the same images to the stronger attack.
    """
    change = after.double() - before.double()
    more, less = int((change > 0).sum()), int((change < 0).sum())
    luck = _sign_test(more, less)
    detail = (
        f"accuracy {float(before.double().mean()):.3f} -> {float(after.double().mean()):.3f}; "
        f"{more} images more robust, {less} less (p = {luck:.3f})"
    )
    return Finding(f"{what} never helps the defence", luck > _CERTAIN, detail)


def gradients_are_usable(victim: Victim, images: Images, draws: Draws, seed: int = 0) -> Finding:
    """Check that the gradient of the cross-entropy is a number, and not 0, next to the images.

    The cross-entropy is what shows a saturated answer; the dlr loss would step over it.

    Args:
        victim: what is attacked.
        images: B images.
        draws: the draws behind its answers.
        seed: of the points where it is tested.
    """
    pixels = ball_around(images, _PROBE, "linf").random_points(seed, _STREAM, images.index.tolist())
    asked = pixels.requires_grad_()
    value = attack_loss("ce", victim.answer(asked, draws.attacker(0)[0]), images.labels)
    name = "gradients are finite and not zero"
    if not value.requires_grad:
        return Finding(name, False, "the victim gives no gradient at all")
    gradient = loss_gradient(value, asked).flatten(1)
    broken = int((~gradient.isfinite()).any(dim=1).sum())
    zero = int((gradient == 0).all(dim=1).sum())
    detail = f"of {len(images)} images {zero} with gradient 0, {broken} not finite"
    return Finding(name, zero + broken == 0, detail)


def gradients_point_uphill(
    victim: Victim, images: Images, draws: Draws, seed: int = 0, length: float = _PROBE
) -> Finding:
    """Check that a small step along the gradient of the margin raises it as much as it should.

    A gradient that is masked (by rounding, by a surrogate, by noise) is there, but does not tell
    where the answer changes: the margin does not follow it.

    Args:
        victim: what is attacked.
        images: B images.
        draws: the draws behind its answers; the step is judged under the same ones.
        seed: of the points where it is tested.
        length: of the step to either side, root mean square over the pixels.
    """
    draw = draws.attacker(0)[0]
    name = "a step along the gradient raises the margin as predicted"
    pixels = ball_around(images, _PROBE, "linf").random_points(seed, _STREAM, images.index.tolist())
    asked = pixels.clone().requires_grad_()
    value = margin(victim.answer(asked, draw), images.labels)
    if not value.requires_grad:
        return Finding(name, False, "the victim gives no gradient at all")
    gradient = loss_gradient(value, asked)
    size = distances(gradient, "l2")  # (B,)
    step = length * math.sqrt(pixels[0].numel())
    ahead = gradient * (step / size.clamp_min(1e-30)).view(-1, 1, 1, 1).to(gradient)
    with torch.no_grad():
        # Steps may leave [0, 1]: the logits are defined there, and clipping would bend them.
        rise = margin(victim.answer(pixels + ahead, draw), images.labels)
        rise = rise - margin(victim.answer(pixels - ahead, draw), images.labels)
    ratio = (rise.double() / (2 * step * size)).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    good = ((ratio > 0.5) & (ratio < 2)).double().mean()
    detail = (
        f"median rise {float(ratio.median()):.2f} of the predicted one; between 0.5 and 2 for "
        f"{float(good):.0%} of the images"
    )
    return Finding(name, bool(good > 0.5), detail)


def agree(what: str, own: Tensor, other: Tensor) -> Finding:
    """Check that another implementation does not fool clearly more images than this one.

    Args:
        what: the other implementation's name.
        own: (B,) bool, whether each image was fooled by the attack of this package.
        other: (B,) bool, whether it was fooled by the other implementation.
    """
    finding = never_helps(what, ~other, ~own)
    return replace(finding, check=f"{what} finds no more than this attack")


def _sign_test(ups: int, downs: int) -> float:
    """Return the chance of at least this many ups among ups + downs tosses of a fair coin."""
    tosses = ups + downs
    return math.fsum(math.comb(tosses, k) / 2**tosses for k in range(ups, tosses + 1))
