"""Calibration: fitting on validation data how errors become probabilities.

Everything here works on errors that have been measured already, (N, K, S); nothing asks a network.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from emodc.method.errors import class_logits, mean_errors
from emodc.method.forecast import FREEDOM, gap_covariance
from emodc.model.prior import smoothed_shares

LEAST_SCALE, GREATEST_SCALE = 1e-3, 1e6
"""Bounds of the scale, in units of 1 / error: nearly uniform posteriors, and those in which
gaps as small as float32 rounding decide."""

_HALVINGS = 60  # of the log-scale bracket: to the precision of float64
_POWERS = tuple(0.25 + 0.05 * i for i in range(26))  # 0.25 to 1.5
_FOLDS = 5
_SHRINKAGES = (0.3, 0.1, 0.03, 0.01, 0.003)
_ROUNDS = 20  # of the EM algorithm: to three digits
_LEAST_SHARE = 1e-3  # of a draw's variance that is its own, so that covariances can be inverted

GAP_BINS = 25
"""Bins of the timesteps in the model of the gaps."""


def fit_scale(errors: Tensor, labels: Tensor) -> float:
    """Return the inverse temperature that makes the posterior most likely on these images.

    It minimizes the mean of ``-log softmax_y(-scale * d)``, the temperature scaling of Guo et
    al. (ICML 2017, section 4.2) for the diffusion classifier. That is convex in the scale, and
    its slope ``mean(d_y) - mean(E_p d)`` only rises, so bisection finds the minimum.

    Args:
        errors: (N, K, S) from :func:`emodc.method.errors.class_errors`, or (N, K) their means.
        labels: (N,) int64, true classes.

    Returns:
        The scale, within `LEAST_SCALE` and `GREATEST_SCALE`; for images that are all
        classified correctly the likelihood rises without end, and one pseudo-image without a
        class (Platt's correction, "Probabilistic Outputs for Support Vector Machines", 1999)
        keeps the confidence to what N images can support.

    Raises:
        ValueError: an error is not finite.
    """
    d = errors.double().reshape(len(labels), errors.shape[1], -1).mean(dim=2)  # (N, K)
    if not bool(d.isfinite().all()):
        raise ValueError("cannot fit the scale: some errors are NaN or infinite")
    # The pseudo-image: every label is uncertain by 1 / (N + 1), spread over the classes.
    doubt = 1 / (len(d) + 1)
    d_y = d.gather(1, labels.unsqueeze(1)).squeeze(1)  # (N,)
    wanted = (1 - doubt) * d_y.mean() + doubt * d.mean()
    low, high = math.log(LEAST_SCALE), math.log(GREATEST_SCALE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (torch.softmax(-math.exp(middle) * d, dim=1) * d).sum(dim=1).mean()
        if wanted < expected:  # the truth lies lower than the posterior thinks: sharpen it
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def fit_posterior(means: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the scale and the power that make the posterior most likely on these images.

    Errors are quadratic in how far the prompts' predictions lie apart, so a gap grows faster than
    the evidence behind it; a power below 1 undoes that, where one temperature for small and large
    gaps is too bold for the ones and too cautious for the others.

    Args:
        means: (N, K) mean errors, or their gaps to the best class.
        labels: (N,) int64, true classes.

    Returns:
        Scale (see `fit_scale`) and power, for :func:`emodc.method.errors.posterior`.

    Raises:
        ValueError: a mean is not finite.
    """
    d = means.double()
    fits = [(fit_scale(-class_logits(d, 1.0, power), labels), power) for power in _POWERS]

    def loss(fit: tuple[float, float]) -> float:
        return float(F.cross_entropy(class_logits(d, *fit), labels))

    return min(fits, key=loss)


def fit_prior(
    means: Tensor, labels: Tensor, expected: Tensor | None = None
) -> tuple[float, Tensor]:
    """Return the evidence in a unit of the errors, and the prior that the errors hold.

    Bias-corrected temperature scaling (Alexandari, Kundaje and Shrikumar, ICML 2020): scale and
    biases that make ``softmax(-nats * D_c + bias_c)`` most likely. Its prior is that of these
    images, pi, so the errors alone hold ``e_c = pi_c exp(-bias_c)``, normalized. Few images of a
    class say little of its bias, so ``log e`` is drawn towards what is expected, by a normal prior
    of one nat.

    Args:
        means: (N, K) mean errors.
        labels: (N,) int64.
        expected: (K,) float64, e as training should have left it; pi if not given.

    Returns:
        Nats for a unit of the errors, and e (K,) float64, which sums to 1.
    """
    d = means.double()
    counts = torch.bincount(labels, minlength=d.shape[1]).tolist()
    shares = torch.tensor(smoothed_shares(counts), dtype=torch.float64)
    center = shares.log() - (shares if expected is None else expected).log()  # of the biases
    start = math.log(fit_scale(d, labels))
    parameters = torch.zeros(d.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        biases, scale = center + parameters[:-1], (parameters[-1] + start).exp()
        loss = F.cross_entropy(biases - scale * d, labels)
        loss = loss + parameters.square().sum() / (2 * len(labels))
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = parameters.detach()
    nats = min(max(math.exp(float(found[-1]) + start), LEAST_SCALE), GREATEST_SCALE)
    return nats, torch.softmax(shares.log() - center - found[:-1], dim=0)


def fit_weights(errors: Tensor, labels: Tensor) -> Tensor:
    """Return weights of the draws that make the posterior most likely on unseen images.

    Timesteps differ in how informative they are. The weights minimize the cross-entropy of
    ``softmax(-scale * mean_s w_s d_s)`` plus a penalty on ``log w``, which shrinks them towards
    equal ones; how much is chosen by cross-validation, which may also leave them equal.

    Args:
        errors: (N, K, S) float32.
        labels: (N,) int64.

    Returns:
        (S,) float64, positive, of mean 1.
    """
    fold = torch.arange(len(labels)) % _FOLDS
    equal = torch.ones(errors.shape[2], dtype=torch.float64)
    d = errors.double()

    def unseen_losses(shrinkage: float | None) -> Tensor:
        losses = torch.empty(len(labels), dtype=torch.float64)
        for number in range(_FOLDS):
            seen, unseen = fold != number, fold == number
            w = equal if shrinkage is None else _fit(d[seen], labels[seen], shrinkage)
            logits = -fit_scale(d[seen] * w, labels[seen]) * mean_errors(d[unseen], w)
            losses[unseen] = F.cross_entropy(logits, labels[unseen], reduction="none")
        return losses

    plain = unseen_losses(None)
    gains = {shrinkage: plain - unseen_losses(shrinkage) for shrinkage in _SHRINKAGES}
    best = max(gains, key=lambda shrinkage: float(gains[shrinkage].mean()))
    gain = gains[best]
    # Equal weights stay unless the gain stands out from its noise.
    clear = gain.mean() > 2 * gain.std() / len(gain) ** 0.5
    return _fit(d, labels, best) if bool(clear) else equal


def _fit(d: Tensor, labels: Tensor, shrinkage: float) -> Tensor:
    """Return (S,) weights for the errors d (N, K, S) float64 at one strength of the penalty."""
    start = math.log(fit_scale(d, labels))
    parameters = torch.zeros(d.shape[2] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=60, line_search_fn="strong_wolfe")
    steps = d.shape[2]

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_w, log_scale = parameters[:-1], parameters[-1] + start
        w = torch.softmax(log_w, dim=0)  # of sum 1
        loss = F.cross_entropy(-log_scale.exp() * (d @ w), labels)
        loss = loss + shrinkage * log_w.square().mean()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return torch.softmax(parameters.detach()[:-1], dim=0) * steps


def fit_gap_model(gaps: Tensor, t: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
    """Return the covariance over timesteps of the gaps between two close classes.

    The model of `emodc.method.forecast`, over `GAP_BINS` equal bins of 0..T-1, fitted by
    alternating between the covariance of the gaps, each image's divided by its scale, and the
    scales (the EM algorithm for the multivariate t, with the step of Kent, Tyler & Vardi, Commun.
    Stat. 1994).

    Args:
        gaps: (N, S) gaps of the second-best class to the best.
        t: (S,) int64, timesteps of the draws.
        timesteps: T.

    Returns:
        ``between`` (bins, bins) and ``within`` (bins,), float64, in the units of the errors
        squared; bins fewer than `GAP_BINS` if S is small.
    """
    bins = max(1, min(GAP_BINS, len(t) // 2))
    member = F.one_hot(t * bins // timesteps, bins).double()  # (S, bins)
    count = member.sum(dim=0)
    pairs = (torch.outer(count, count) - torch.diag(count)).clamp_min(1)  # of different draws
    scale = torch.ones(len(gaps), 1, dtype=torch.float64)
    for _ in range(_ROUNDS):
        scaled = gaps.double() / scale.sqrt()
        sums, squares = (
            scaled @ member,
            (scaled.square() @ member).mean(dim=0),
        )  # (N, bins), (bins,)
        between = (sums.T @ sums / len(gaps) - torch.diag(squares)) / pairs
        values, vectors = torch.linalg.eigh(between)
        between = (vectors * values.clamp_min(0)) @ vectors.T  # as a covariance must be
        total = squares / count
        within = (total - between.diag()).maximum(_LEAST_SHARE * total)
        covariance = gap_covariance(between, within, t, timesteps)
        solved = torch.linalg.solve(covariance, gaps.double().T).T  # (N, S)
        distance = (gaps.double() * solved).sum(dim=1, keepdim=True)
        scale = (distance + FREEDOM) / (len(t) + FREEDOM)
        scale = scale * scale.reciprocal().mean()  # leaves the fixed point, and hastens to it
    return between, within


def best_steps(errors: Tensor, labels: Tensor, counts: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Return, for each number of draws, those that tell the classes apart best together.

    Draws are added one by one, each time the one after which the likelihood, at its best scale,
    is highest.

    Args:
        errors: (N, K, S).
        labels: (N,) int64.
        counts: numbers M of draws, 1 <= M <= S.

    Returns:
        By M, the positions of M draws in ascending order.
    """
    d = errors.double()
    chosen: list[int] = []
    total = torch.zeros_like(d[:, :, 0])
    found = {}
    for size in range(1, max(counts) + 1):
        candidates = [s for s in range(d.shape[2]) if s not in chosen]

        def loss(s: int, before: Tensor = total) -> float:
            mean = before + d[:, :, s]
            return float(F.cross_entropy(-fit_scale(mean, labels) * mean, labels))

        added = min(candidates, key=loss)
        chosen.append(added)
        total = total + d[:, :, added]
        if size in counts:
            found[size] = tuple(sorted(chosen))
    return found
