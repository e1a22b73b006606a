"""Thresholds of early stopping that keep a promise, from errors that are known already.

The promise: at most a share delta of the images gets another answer than with all draws.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from emodc.method.errors import mean_errors
from emodc.method.forecast import Forecast
from emodc.method.label_shift import rate_p_value
from emodc.method.sequential import Outcome, Rule, Settled, draw_order, score_sequentially

DELTAS = (0.005, 0.0075, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.03, 0.05, 0.1)
"""Shares of differing answers for which stopping thresholds are sought."""

_THRESHOLDS = tuple(6.0 * 0.95**i for i in range(62))  # from 6 down to 0.26 standard errors


class Certified(NamedTuple):
    """A threshold that keeps a promise, and what it did on the images that certify it."""

    threshold: float
    outcome: Outcome


def simulate(
    errors: Tensor, weights: Tensor, rule: Rule, block: int, budget: int | None = None
) -> Outcome:
    """Score sequentially from errors that are known already.

    Args:
        errors: (N, K, S) float32.
        weights: (S,) weights of the draws, of mean 1.
        rule: which classes stay.
        block: draws in a block.
        budget: most draws for an image.
    """
    images, classes, steps = errors.shape
    return score_sequentially(
        lambda image, draw, prompts: errors[image.unsqueeze(1), prompts, draw.unsqueeze(1)],
        images,
        classes,
        draw_order(steps),
        rule,
        block=block,
        weights=weights,
        budget=budget,
        pairs=images * block,
    )


def stopping_thresholds(
    hold: Tensor,
    weights: Tensor,
    forecast: Forecast,
    block: int,
    confidence: float,
    *,
    handicap: Tensor | None = None,
    counts_for: Tensor | None = None,
) -> dict[float, Certified]:
    """Return the boldest certified threshold for each delta that can be certified.

    Learn then test (Angelopoulos et al., arXiv 2110.01052): thresholds are tried from the safest
    down; each is certified for delta if so few of the images got another answer than with all
    draws that a rate above delta would show so few with a probability of at most
    ``1 - confidence`` (`emodc.method.label_shift.rate_p_value`). The first that fails ends the
    sequence, which keeps the error of the whole search at that level.

    Args:
        hold: (N, K, S) errors of images that fitted nothing.
        weights: (S,) weights of the draws.
        forecast: fitted on other images.
        block: draws in a block.
        confidence: in (0, 1).
        handicap: (K,) see `emodc.method.sequential.Settled`; 0 if not given.
        counts_for: (N,) images under the prior of the promise that each image stands for; 1 if not
            given.
    """
    offsets = torch.zeros(hold.shape[1], dtype=torch.float64) if handicap is None else handicap
    counted = torch.ones(len(hold), dtype=torch.float64) if counts_for is None else counts_for
    final = (mean_errors(hold, weights) + offsets).argmin(dim=1)
    found: dict[float, Certified] = {}
    open_deltas = set(DELTAS)
    for threshold in _THRESHOLDS:
        rule = Settled(threshold=threshold, forecast=forecast, handicap=offsets)
        outcome = simulate(hold, weights, rule, block)
        differ = outcome.label != final
        open_deltas = {
            delta for delta in open_deltas if rate_p_value(differ, counted, delta) <= 1 - confidence
        }
        if not open_deltas:
            break
        found |= dict.fromkeys(open_deltas, Certified(threshold, outcome))
    return dict(sorted(found.items()))
