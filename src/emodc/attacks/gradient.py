"""White-box attacks that follow the gradient: PGD and APGD."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from emodc.attacks.losses import LossName
from emodc.attacks.search import Draws, Found, Search
from emodc.attacks.threat_model import Ball, Images, Norm
from emodc.attacks.victims import Victim

_START_STREAM = 0x57A27  # of `counter_rng`
_MOST_RESTARTS = 2**16

# APGD's constants (Croce & Hein, ICML 2020, section 3).
_MOMENTUM = 0.75
_RISING = 0.75  # share of steps that must have raised the loss for the step size to stay
_FIRST_CHECK, _LEAST_GAP, _GAP_SHRINKS = 0.22, 0.06, 0.03  # as shares of all steps


@dataclass(frozen=True, kw_only=True)
class GradientAttack:
    """How to follow the gradient.

    Attributes:
        method: ``pgd`` (Madry et al., ICLR 2018): steps of one size, 2.5 eps / steps; ``apgd``
            (Croce & Hein, ICML 2020, Algorithm 1): momentum, and a step size that halves, back at
            the best point, when progress stalls.
        loss: what is raised; see :func:`emodc.attacks.losses.attack_loss`.
        steps: gradients for each restart.
        restarts: random starting points, each tried on the images that are not fooled yet.
        targets: how many wrong classes are aimed at, one after the other, beginning with the
            most likely; 0 aims at none in particular.
        stop_when_fooled: see :class:`emodc.attacks.search.Search`.

    Raises:
        ValueError: a number is out of range.
    """

    method: Literal["pgd", "apgd"] = "apgd"
    loss: LossName = "dlr"
    steps: int = 20
    restarts: int = 1
    targets: int = 0
    stop_when_fooled: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.targets < 0:
            raise ValueError("an attack needs at least 1 step, and not less than 0 targets")
        if not 1 <= self.restarts * max(self.targets, 1) < _MOST_RESTARTS:
            raise ValueError(f"restarts times targets must be between 1 and {_MOST_RESTARTS - 1}")

    def __call__(
        self,
        victim: Victim,
        images: Images,
        eps: float | Tensor,
        norm: Norm,
        draws: Draws,
        seed: int = 0,
    ) -> Found:
        """Attack every image.

        Args:
            victim: what is attacked.
            images: B images.
            eps: the greatest distance from the clean image, one for all or (B,).
            norm: how distance is measured.
            draws: the draws behind the victim's answers.
            seed: of the starting points.

        Raises:
            ValueError: the victim has no gradient, or too few classes for loss or targets.
        """
        ball = ball_around(images, eps, norm)
        search = Search(victim, images, draws, self.stop_when_fooled)
        aims = self._aims(victim, images, draws)
        for number in range(self.restarts * len(aims)):
            if not bool(search.open.any()):
                break
            counters = [int(i) * _MOST_RESTARTS + number for i in images.index]
            start = ball.random_points(seed, _START_STREAM, counters)
            climber = _pgd if self.method == "pgd" else _apgd
            climber(search, ball, start, self.steps, self.loss, aims[number % len(aims)])
        return search.found()

    def _aims(self, victim: Victim, images: Images, draws: Draws) -> list[Tensor | None]:
        if self.targets == 0:
            return [None]
        with torch.no_grad():
            seed, parts = draws.attacker(0)[0], torch.split(images.pixels, victim.batch)
            logits = torch.cat([victim.answer(part, seed) for part in parts])
        if self.targets >= logits.shape[1]:
            raise ValueError(
                f"{self.targets} targets, but there are only {logits.shape[1] - 1} wrong classes"
            )
        logits = logits.scatter(1, images.labels.unsqueeze(1), -torch.inf)
        return list(logits.topk(self.targets, dim=1).indices.unbind(dim=1))


def ball_around(images: Images, eps: float | Tensor, norm: Norm) -> Ball:
    """Return the images that an attacker may show.

    Args:
        images: B clean images.
        eps: one for all, or (B,).
        norm: how distance is measured.

    Raises:
        ValueError: an eps is negative or not a number.
    """
    each = torch.as_tensor(eps, dtype=torch.float64, device=images.pixels.device)
    if not bool((each >= 0).all()):
        raise ValueError(f"eps must not be negative: {eps}")
    return Ball(images.pixels, each.expand(len(images)), norm)


def _pgd(
    search: Search, ball: Ball, start: Tensor, steps: int, loss: LossName, targets: Tensor | None
) -> None:
    size = ball.step(2.5 * ball.eps / steps)
    x = start
    for _ in range(steps):
        _, gradient = search.climb(x, loss, targets)
        x = ball.project(x + size * ball.ascent(gradient))
    search.try_out(x)


def _apgd(
    search: Search, ball: Ball, start: Tensor, steps: int, loss: LossName, targets: Tensor | None
) -> None:
    checks = set(checkpoints(steps))
    x = previous = start
    value, gradient = search.climb(x, loss, targets)
    best, best_value, best_gradient = x, value, gradient
    size = 2 * ball.eps
    rose, last_check = torch.zeros_like(size), 0
    halved, value_then = torch.zeros_like(size).bool(), best_value
    for k in range(1, steps):
        # Algorithm 1, lines 7 and 8; the first step has no momentum (line 3).
        there = ball.project(x + ball.step(size) * ball.ascent(gradient))
        share = _MOMENTUM if k > 1 else 1.0
        x, previous = ball.project(x + share * (there - x) + (1 - share) * (x - previous)), x
        value_before = value
        value, gradient = search.climb(x, loss, targets)
        rose += value > value_before
        better = value > best_value
        best, best_gradient = _where(better, x, best), _where(better, gradient, best_gradient)
        best_value = torch.where(better, value, best_value)
        if k in checks:
            # Conditions 1 and 2 of section 3.2.
            seldom = rose < _RISING * (k - last_check)
            stuck = seldom | (~halved & (best_value == value_then))
            size = torch.where(stuck, size / 2, size)
            x, gradient = _where(stuck, best, x), _where(stuck, best_gradient, gradient)
            value = torch.where(stuck, best_value, value)
            rose, last_check, halved, value_then = torch.zeros_like(rose), k, stuck, best_value
    search.try_out(ball.project(x + ball.step(size) * ball.ascent(gradient)))


def checkpoints(steps: int) -> list[int]:
    """Return the steps after which APGD reconsiders its step size.

    ``w_j = ceil(p_j N)`` with p_0 = 0, p_1 = 0.22, each gap 0.03 less than the last but not under
    0.06 (Croce & Hein, ICML 2020, section 3.3).
    """
    p, gap, found = 0.0, _FIRST_CHECK, []
    while p + gap < 1:
        p += gap
        found.append(math.ceil(p * steps - 1e-9))
        gap = max(gap - _GAP_SHRINKS, _LEAST_GAP)
    return found


def _where(rows: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return torch.where(rows.view(-1, 1, 1, 1), first, second)
