"""Sequential scoring: the answer of all S draws for a fraction of the work.

All classes and images share the draws, so per-draw differences between two classes are paired, and
a few of them often settle which class is better. Draws are taken in blocks that soon span the
timesteps; after a block a rule says which classes stay in the race. An image is finished
when one class is left. Finished images make room for others, so the network's calls stay full.

Two rules: `Settled` drops a class when the leader's forecast advantage is large beside its standard
error; `KeepBest` keeps the best k after fixed numbers of draws (Li et al., ICCV 2023, section 3.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from emodc.method.errors import DEFAULT_PAIRS, Measure
from emodc.method.forecast import Forecast

_GOLDEN = (5**0.5 - 1) / 2
_FIRST = 0.2  # of the way from no noise to nothing but noise


@dataclass(frozen=True)
class Race:
    """How far the classes of A images are.

    Attributes:
        errors: (A, K, S) float64, ``w_s d_c,s`` in the order in which the draws are taken; 0 for
            draws not taken.
        taken: (A,) int64, draws taken; the same ones for all classes still in the race.
        racing: (A, K) bool.
    """

    errors: Tensor
    taken: Tensor
    racing: Tensor


@dataclass(frozen=True)
class Standing:
    """What a rule makes of a race.

    Attributes:
        gaps: (A, K) float64, expected mean gaps to the leader over all S draws; inf for
            classes out of the race.
        gap_errors: (A, K) float64, their standard errors; NaN if the rule knows none.
        keep: (A, K) bool, the classes that stay; at least the leader.
    """

    gaps: Tensor
    gap_errors: Tensor
    keep: Tensor


class Rule(Protocol):
    """Says after each block how the classes stand, and which of them stay in the race."""

    def judge(self, race: Race) -> Standing:
        """Return the standing of a race in which every image has a draw taken."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Drops a class when the leader's forecast advantage exceeds ``threshold`` standard errors.

    Attributes:
        threshold: chosen on validation data (`emodc.method.stopping.stopping_thresholds`).
        forecast: of the S draws in the order in which they are taken.
        handicap: (K,) float64, added to the mean errors before they are compared: what the prior
            says against each class, in units of the errors; 0 if not given.
    """

    threshold: float
    forecast: Forecast
    handicap: Tensor | None = None

    def judge(self, race: Race) -> Standing:
        """Return the standing; a class stays while it may still win."""
        gaps, errors = (
            torch.empty_like(race.errors[:, :, 0]),
            torch.empty_like(race.errors[:, :, 0]),
        )
        for n in set(race.taken.tolist()):
            rows = race.taken == n
            taken = race.errors[rows, :, :n]  # (A', K, n)
            means = self.forecast.means(taken)  # (A', K)
            if self.handicap is not None:
                means = means + self.handicap
            ahead = _gaps(means, race.racing[rows])  # (A', K)
            leader = ahead.argmin(dim=1)
            gaps[rows] = ahead
            errors[rows] = self.forecast.gap_errors(taken - taken[_rows(leader), leader, None])
        return Standing(gaps, errors, race.racing & (gaps <= self.threshold * errors))


@dataclass(frozen=True)
class KeepBest:
    """Keeps the best k classes once so many draws are taken.

    Attributes:
        stages: pairs (draws, k), both in order: draws rising, k falling.
    """

    stages: Sequence[tuple[int, int]]

    def judge(self, race: Race) -> Standing:
        """Return the standing by plain means."""
        means = race.errors.sum(dim=2) / race.taken.unsqueeze(1)  # draws not taken are 0
        gaps = _gaps(means, race.racing)
        keep, rank = race.racing, gaps.argsort(dim=1).argsort(dim=1)  # (A, K)
        for draws, k in self.stages:
            keep = keep & ((race.taken < draws).unsqueeze(1) | (rank < k))
        return Standing(gaps, torch.full_like(gaps, torch.nan), keep)


@dataclass(frozen=True)
class Outcome:
    """What sequential scoring found for B images.

    Attributes:
        label: (B,) int64, the class that is left, or leads when the draws or the budget ended.
        gaps: (B, K) float64, expected mean of ``w_s (d_c,s - d_label,s)`` over all draws, with what
            the rule adds to it; a class that was dropped keeps its gap of that moment.
        gap_error: (B,) float64, standard error of the runner-up's gap.
        draws: (B,) int64, draws taken: passes of a trunk that all prompts share.
        evaluations: (B,) int64, (draw, prompt) pairs evaluated.
    """

    label: Tensor
    gaps: Tensor
    gap_error: Tensor
    draws: Tensor
    evaluations: Tensor


def draw_order(draws: int) -> Tensor:
    """Return the order in which draws are taken: (S,) int64, a permutation.

    Steps of the golden ratio around the timesteps, so that every few draws span them as evenly as
    can be. The first is one of little noise: these are the most informative.

    Args:
        draws: S, in ascending order of their timesteps.
    """
    wanted = (_FIRST + _GOLDEN * torch.arange(draws, dtype=torch.float64)) % 1  # (S,) in [0, 1)
    # The k-th draw takes the place that its number has among all of them.
    return wanted.argsort().argsort()


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
    pairs: int = DEFAULT_PAIRS,
) -> Outcome:
    """Classify images with as few draws as the rule allows.

    Args:
        measure: from `emodc.method.errors.measure_errors`, or a look-up of known errors.
        images: B.
        num_classes: K.
        order: (S,) int64 from `draw_order`.
        rule: which classes stay in the race after a block.
        block: draws in a block.
        weights: (S,) weights of the draws, of mean 1; all 1 if not given.
        budget: most draws for an image; S if not given. The last block is cut to it.
        drop_classes: do not evaluate a class that is out of the race. Pays where each prompt
            costs a pass of its own; a shared trunk answers for all prompts anyway.
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
        standing = rule.judge(race)
        leader = standing.gaps.argmin(dim=1)
        keep = standing.keep.scatter(1, leader.unsqueeze(1), True)
        done = (keep.sum(dim=1) == 1) | (race.taken >= limit)  # (A,)
        # A class leaves with its gap to the leader of that moment; leaders change rarely.
        leaves = race.racing & (~keep | done.unsqueeze(1))
        found.gaps[index] = torch.where(leaves, standing.gaps, found.gaps[index])
        runner_up = standing.gaps.scatter(1, leader.unsqueeze(1), torch.inf).argmin(dim=1)
        found.label[index] = leader
        found.gap_error[index] = standing.gap_errors[_rows(runner_up), runner_up]
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
    place = position[within]  # (M,)
    row = torch.arange(len(index)).unsqueeze(1).expand_as(position)[within]  # (M,)
    draw = order[place]  # (M,)
    errors = race.errors.clone()
    classes = errors.shape[1]
    if drop_classes:
        pair, prompt = race.racing[row].nonzero(as_tuple=True)  # (M',) twice
        d = measure(index[row[pair]], draw[pair], prompt.unsqueeze(1)).squeeze(1)
        errors[row[pair], prompt, place[pair]] = d * scale[draw[pair]]
        evaluated = torch.zeros(len(index), dtype=torch.int64)
        evaluated.index_add_(0, row[pair], torch.ones_like(pair))
    else:
        prompts = torch.arange(classes).expand(len(row), -1)
        d = measure(index[row], draw, prompts)  # (M, K)
        errors[row, :, place] = d * scale[draw].unsqueeze(1)
        evaluated = within.sum(dim=1) * classes
    return replace(race, errors=errors, taken=race.taken + within.sum(dim=1)), evaluated


def _start(images: int, num_classes: int, draws: int) -> Race:
    return Race(
        errors=torch.zeros(images, num_classes, draws, dtype=torch.float64),
        taken=torch.zeros(images, dtype=torch.int64),
        racing=torch.ones(images, num_classes, dtype=torch.bool),
    )


def _join(first: Race, second: Race) -> Race:
    return Race(
        errors=torch.cat([first.errors, second.errors]),
        taken=torch.cat([first.taken, second.taken]),
        racing=torch.cat([first.racing, second.racing]),
    )


def _select(race: Race, chosen: Tensor) -> Race:
    return replace(
        race, errors=race.errors[chosen], taken=race.taken[chosen], racing=race.racing[chosen]
    )


def _gaps(means: Tensor, racing: Tensor) -> Tensor:
    """Return (A, K) means less the least of them; inf for classes out of the race."""
    means = means.masked_fill(~racing, torch.inf)
    return means - means.min(dim=1, keepdim=True).values


def _rows(of: Tensor) -> Tensor:
    return torch.arange(len(of))
