"""Label shift: the classes occur in other shares than on the images that calibrated a model.

Under label shift the faces of a class look as before, p(x | c), and only the prior p(c) changes
(Saerens, Latinne and Decaestecker, Neural Computation 2002). So an image of class y of the
validation data stands for ``w_y = q_y / pi_y`` images under the prior q, where pi_y is its share
there. With these weights what was fitted and tested on validation data holds under q (Podkopaev
and Ramdas, "Distribution-free uncertainty quantification for classification under label shift",
UAI 2021).
"""

import math

import torch
from torch import Tensor

_TOLERANCE, _ROUNDS = 1e-6, 5_000  # of the EM algorithm
_BETS = (0.9, 0.4)  # as shares of the bet that one hit would lose: for few hits, and for some


def class_weights(labels: Tensor, shares: Tensor) -> Tensor:
    """Return how many images under a prior each validation image of a class stands for.

    Args:
        labels: (N,) int64, of the validation images.
        shares: (K,) float64, the prior q; sums to 1.

    Returns:
        (K,) float64 ``q_y N / N_y``: infinite for a class without images, 0 for one that cannot
        occur. Over the images their mean is 1, less the shares of classes without images.
    """
    counts = torch.bincount(labels, minlength=len(shares)).double()
    wanted = torch.where(shares > 0, shares * len(labels), 0.0)
    return torch.where(shares > 0, wanted / counts, 0.0)


def least_probabilities(
    probabilities: Tensor, labels: Tensor, coverage: float, weights: Tensor
) -> Tensor:
    """Return the thresholds of prediction sets that hold the true class often enough.

    Weighted split conformal prediction (Podkopaev and Ramdas 2021, section 3.2) with the score
    ``1 - p_y`` (Sadinle et al., JASA 2019): the set ``{c: p_c >= threshold_c}`` holds the true
    class with a probability of at least ``coverage`` over images whose classes are drawn from the
    prior behind the weights. A candidate class counts with its own weight, so each has a threshold
    of its own. The images must not have been used to fit the probabilities.

    Args:
        probabilities: (N, K) under that prior, rows sum to 1.
        labels: (N,) int64.
        coverage: wanted, in (0, 1).
        weights: (K,) from `class_weights`; equal ones are plain split conformal prediction.

    Returns:
        (K,) float64 thresholds; 0, which admits the class, where the images are too few; 1 for
        a class of weight 0.
    """
    p_true, order = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1).sort()  # rising
    below = weights[labels][order].cumsum(0)  # (N,) weight of the images up to and with each
    total = float(below[-1])
    thresholds = torch.ones_like(weights)
    for k, own in enumerate(weights.tolist()):
        if own:
            left_out = total - coverage * (total + own)  # the weight that may be
            first = int((below <= left_out).sum())
            thresholds[k] = p_true[first] if left_out >= 0 else 0.0
    return thresholds


def rate_p_value(hits: Tensor, weights: Tensor, rate: float) -> float:
    """Test whether a rate under a prior is as high as ``rate``; a small value refutes it.

    With weights of 1 it is the binomial test. Otherwise two bets: with Y = w_y where there was a
    hit, and 0 elsewhere, ``prod_i (1 - b (Y_i - rate))`` is on average at most 1 if the mean of Y
    is ``rate`` or more, for every b from 0 to ``1 / (max w - rate)``. So the mean of such products
    exceeds 20 in at most one of 20 cases (Markov; Waudby-Smith and Ramdas, JRSS B 2024). That holds
    for given numbers of images of each class, so no share is estimated.

    Args:
        hits: (N,) bool, of validation images.
        weights: (N,) float64, ``w_y`` of each. Where their mean is below 1, the rest is that of
            classes without images, which are taken to be all hits.
        rate: in (0, 1).

    Returns:
        An upper bound of the p-value, in [0, 1].
    """
    if bool((weights == 1).all()):
        return binomial_tail(int(hits.sum()), len(hits), rate)
    left = rate - (1 - float(weights.mean()))
    if left <= 0:
        return 1.0
    y = torch.where(hits, weights, 0.0) - left
    safe = 1 / max(float(weights.max()) - left, 1e-9)
    gains = torch.stack([torch.log1p(-bet * safe * y).sum() for bet in _BETS])
    gain = float(gains.logsumexp(dim=0)) - math.log(len(_BETS))
    return min(1.0, math.exp(-gain)) if gain > 0 else 1.0


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Return P(X <= successes) of a binomial variable."""
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(probability)
        + (trials - k) * math.log1p(-probability)
        for k in range(successes + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def estimate_prior(
    probabilities: Tensor, prior: Tensor, counts: Tensor | None = None, added: float = 0.0
) -> Tensor:
    """Return the class shares under which unlabeled images are most likely.

    The EM algorithm of Saerens et al. (2002): the mean posterior under the present estimate is the
    next. The likelihood is concave, so the start does not matter. It takes probabilities that are
    calibrated (Alexandari, Kundaje and Shrikumar, ICML 2020).

    Args:
        probabilities: (N, K) float64, rows sum to 1: posteriors under ``prior``.
        prior: (K,) float64, positive, sums to 1.
        counts: (N,) how often each image counts; once if not given.
        added: images of each class that are taken to be there as well: with any, no share is 0
            (the mode under a Dirichlet prior).

    Returns:
        (K,) float64, sums to 1.
    """
    likelihood = probabilities / prior
    often = torch.ones_like(likelihood[:, 0]) if counts is None else counts.double()
    total = often.sum() + added * len(prior)
    shares = torch.full_like(prior, 1 / len(prior))
    for _ in range(_ROUNDS):
        weights = often / (likelihood @ shares)  # (N,)
        found = (shares * (weights @ likelihood) + added) / total
        settled = float((found - shares).abs().max()) < _TOLERANCE
        shares = found
        if settled:
            break
    return shares
