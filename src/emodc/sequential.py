"""Sequential scoring: the answer of all S draws for a fraction of the work.

All classes and images share the draws, so per-draw differences between two classes are paired, and
a few of them often settle which class is better. Draws are taken in blocks, each of which spans
the timesteps; after a block a rule says which classes stay in the race. An image is finished
when one class is left. Finished images make room for others, so the network's calls stay full.

Two rules: `Settled` drops a class when the leader's advantage is large beside its standard error;
`KeepBest` keeps the best k after fixed numbers of draws (Li et al., ICCV 2023, section 3.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from emodc.classifier import DEFAULT_PAIRS, Measure
from emodc.diffusion import counter_rng

_STREAM = 0x5E9  # of `counter_rng`

SHRINKAGE = 4.0
"""How many draws the variance known from validation counts for beside an image's own."""


@dataclass(frozen=True)
class Race:
    """How far the classes of A images are.

    Attributes:
        errors: (A, K, S) float64, ``w_s d_c,s`` of the draws taken, 0 elsewhere.
        taken: (A,) int64, draws taken; the same ones for all classes still in the race.
        racing: (A, K) bool.
        draws: S.
    """

    errors: Tensor
    taken: Tensor
    racing: Tensor
    draws: int

    def means(self) -> Tensor:
        """Return (A, K) float64 means over the draws taken; inf for classes out of the race."""
        means = self.errors.sum(dim=2) / self.taken.unsqueeze(1)
        return means.masked_fill(~self.racing, torch.inf)

    def gap_errors(self, leader: Tensor, variance: float) -> tuple[Tensor, Tensor]:
        """Return mean gaps to the leader and their standard errors as estimates of all S draws.

        The draws are a sample without replacement from S, so the error vanishes at n = S. Few
        draws tell their own variance badly: it is shrunk towards the usual one.

        Args:
            leader: (A,) int64.
            variance: usual variance of a gap between draws.

        Returns:
            (A, K) float64 twice; meaningless for classes out of the race.
        """
        n = self.taken.unsqueeze(1).double()  # (A, 1)
        rows = torch.arange(len(leader))
        gaps = self.errors - self.errors[rows, leader].unsqueeze(1)  # (A, K, S)
        mean = gaps.sum(dim=2) / n  # untaken draws are 0 in both
        squares = gaps.square().sum(dim=2) - n * mean.square()  # (A, K)
        pooled = (squares.clamp_min(0) + SHRINKAGE * variance) / (n - 1 + SHRINKAGE)
        return mean, (pooled / n * (1 - n / self.draws)).sqrt()


class Rule(Protocol):
    """Says after each block which classes stay in the race."""

    def keep(self, race: Race) -> Tensor:
        """Return (A, K) bool; at least one class of every image stays."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Drops a class when the leader's advantage exceeds ``threshold`` standard errors.

    Attributes:
        threshold: chosen on validation data (`emodc.calibration.stopping_threshold`).
        variance: usual variance of a gap between draws, from validation data.
    """

    threshold: float
    variance: float

    def keep(self, race: Race) -> Tensor:
        """Return the classes that may still win: (A, K) bool."""
        leader = race.means().argmin(dim=1)
        gap, error = race.gap_errors(leader, self.variance)
        keep = race.racing & (gap <= self.threshold * error)
        return keep.scatter(1, leader.unsqueeze(1), True)


@dataclass(frozen=True)
class KeepBest:
    """Keeps the best k classes once so many draws are taken.

    Attributes:
        stages: pairs (draws, k), both in order: draws rising, k falling.
    """

    stages: Sequence[tuple[int, int]]

    def keep(self, race: Race) -> Tensor:
        """Return the best classes of each image: (A, K) bool."""
        keep = race.racing
        rank = race.means().argsort(dim=1).argsort(dim=1)  # (A, K)
        for draws, k in self.stages:
            keep = keep & ((race.taken < draws).unsqueeze(1) | (rank < k))
        return keep


@dataclass(frozen=True)
class Outcome:
    """What sequential scoring found for B images.

    Attributes:
        label: (B,) int64, the class that is left, or leads when the draws or the budget ended.
        gaps: (B, K) float64, mean ``w_s (d_c,s - d_label,s)`` over the draws taken together; a
            class that was dropped keeps its gap of that moment.
        gap_error: (B,) float64, standard error of the closest rival's gap.
        draws: (B,) int64, draws taken: passes of a trunk that all prompts share.
        evaluations: (B,) int64, (draw, prompt) pairs evaluated.
    """

    label: Tensor
    gaps: Tensor
    gap_error: Tensor
    draws: Tensor
    evaluations: Tensor


def block_order(draws: int, block: int, seed: int = 0) -> Tensor:
    """Return the draws in the order in which they are taken: (S,) int64, a permutation.

    Every run of ``block`` draws from the first takes one at random from each of ``block`` strata
    of timesteps, until all are used.

    Args:
        draws: S, in ascending order of their timesteps.
        block: draws in a block, 1..S.
        seed: of the order.
    """
    strata = torch.arange(draws).tensor_split(min(block, draws))
    shuffled = [
        part[torch.from_numpy(counter_rng(seed, _STREAM, i).permutation(len(part)))]
        for i, part in enumerate(strata)
    ]
    return torch.cat(
        [
            torch.stack([part[turn] for part in shuffled if turn < len(part)])
            for turn in range(max(len(part) for part in strata))
        ]
    )


def score_sequentially(
    measure: Measure,
    images: int,
    num_classes: int,
    order: Tensor,
    rule: Rule,
    *,
    block: int,
    weights: Tensor | None = None,
    budget: int | None = None,
    drop_classes: bool = False,
    variance: float = 0.0,
    pairs: int = DEFAULT_PAIRS,
) -> Outcome:
    """Classify images with as few draws as the rule allows.

    Args:
        measure: from `emodc.classifier.measure_errors`, or a look-up of known errors.
        images: B.
        num_classes: K.
        order: (S,) int64 from `block_order`.
        rule: which classes stay in the race after a block.
        block: draws in a block.
        weights: (S,) weights of the draws, of mean 1; all 1 if not given.
        budget: most draws for an image; S if not given. The last block is cut to it.
        drop_classes: do not evaluate a class that is out of the race. Pays where each prompt
            costs a pass of its own; a shared trunk answers for all prompts anyway.
        variance: usual variance of a gap between draws, for the standard error reported.
        pairs: (image, draw) pairs measured together; does not change the answer.

    Returns:
        The outcome for the images in their order. It does not depend on ``pairs``, on
        ``drop_classes`` or on which other images there are.
    """
    draws = len(order)
    limit = draws if budget is None else min(budget, draws)
    scale = torch.ones(draws) if weights is None else weights
    scale = scale.double()
    found = Outcome(
        label=torch.zeros(images, dtype=torch.int64),
        gaps=torch.zeros(images, num_classes, dtype=torch.float64),
        gap_error=torch.zeros(images, dtype=torch.float64),
        draws=torch.zeros(images, dtype=torch.int64),
        evaluations=torch.zeros(images, dtype=torch.int64),
    )
    at_once = max(1, pairs // block)
    index = torch.empty(0, dtype=torch.int64)  # (A,) the images in the race
    race = _start(0, num_classes, draws)
    entered = 0
    while entered < images or len(index):
        more = min(at_once - len(index), images - entered)
        index = torch.cat([index, torch.arange(entered, entered + more)])
        race = _join(race, _start(more, num_classes, draws))
        entered += more

        race, evaluated = _run_block(measure, index, race, order, scale, block, limit, drop_classes)
        found.evaluations[index] += evaluated
        found.draws[index] = race.taken
        keep = rule.keep(race)
        leader = race.means().argmin(dim=1)
        gap, error = race.gap_errors(leader, variance)
        done = (keep.sum(dim=1) == 1) | (race.taken >= limit)  # (A,)
        # A class leaves with its gap to the leader of that moment; leaders change rarely.
        leaves = race.racing & (~keep | done.unsqueeze(1))
        found.gaps[index] = torch.where(leaves, gap, found.gaps[index])
        rival = gap.masked_fill(~race.racing, torch.inf)
        rival = rival.scatter(1, leader.unsqueeze(1), torch.inf).argmin(dim=1)
        found.label[index] = leader
        found.gap_error[index] = error.gather(1, rival.unsqueeze(1)).squeeze(1)
        race = _select(replace(race, racing=keep), ~done)
        index = index[~done]
    return found


def _run_block(
    measure: Measure,
    index: Tensor,
    race: Race,
    order: Tensor,
    scale: Tensor,
    block: int,
    limit: int,
    drop_classes: bool,
) -> tuple[Race, Tensor]:
    """Take the next block of draws of every image; return the race and (A,) evaluations."""
    position = race.taken.unsqueeze(1) + torch.arange(block)  # (A, block)
    within = position < limit
    row = torch.arange(len(index)).unsqueeze(1).expand_as(position)[within]  # (M,)
    draw = order[position[within]]  # (M,)
    errors = race.errors.clone()
    classes = errors.shape[1]
    if drop_classes:
        pair, prompt = race.racing[row].nonzero(as_tuple=True)  # (M',) twice
        d = measure(index[row[pair]], draw[pair], prompt.unsqueeze(1)).squeeze(1)
        errors[row[pair], prompt, draw[pair]] = d * scale[draw[pair]]
        evaluated = torch.zeros(len(index), dtype=torch.int64)
        evaluated.index_add_(0, row[pair], torch.ones_like(pair))
    else:
        prompts = torch.arange(classes).expand(len(row), -1)
        d = measure(index[row], draw, prompts)  # (M, K)
        errors[row, :, draw] = d * scale[draw].unsqueeze(1)
        evaluated = within.sum(dim=1) * classes
    return replace(race, errors=errors, taken=race.taken + within.sum(dim=1)), evaluated


def _start(images: int, num_classes: int, draws: int) -> Race:
    return Race(
        errors=torch.zeros(images, num_classes, draws, dtype=torch.float64),
        taken=torch.zeros(images, dtype=torch.int64),
        racing=torch.ones(images, num_classes, dtype=torch.bool),
        draws=draws,
    )


def _join(first: Race, second: Race) -> Race:
    return Race(
        errors=torch.cat([first.errors, second.errors]),
        taken=torch.cat([first.taken, second.taken]),
        racing=torch.cat([first.racing, second.racing]),
        draws=first.draws,
    )


def _select(race: Race, chosen: Tensor) -> Race:
    return replace(
        race, errors=race.errors[chosen], taken=race.taken[chosen], racing=race.racing[chosen]
    )
