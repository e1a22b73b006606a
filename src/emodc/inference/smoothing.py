"""Certified robustness: the answer of a classifier under noise, and how far it provably holds.

Randomized smoothing (Cohen, Rosenfeld and Kolter, ICML 2019). The smoothed classifier answers with
the class that the model names most often when Gaussian noise is added to the pixels. If that class
is named with a probability of at least p > 1/2, no change of the pixels with an L2 norm below
``sigma * Phi^-1(p)`` alters the answer (theorem 1), whatever the model is. Distances are in units
of the full range of a pixel. The model is asked with fixed draws of (t, eps), so that it is a
function of the pixels, as the theorem asks.
"""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import torch
from torch import Tensor

from emodc.inference.scorer import Scorer
from emodc.method.randomness import standard_normal
from emodc.model.model import Model

CERTIFY_STEPS = 4
"""Draws of (t, eps) for each noisy image, if the number is not chosen."""

SELECTION, ESTIMATION, ALPHA = 100, 1000, 0.001
"""The paper's n_0, a hundredth of its n, and its alpha."""

_SELECTION_STREAM, _ESTIMATION_STREAM = 0x5E1EC7, 0xE5717  # of `counter_rng`
_AT_ONCE = 64  # noisy images shown at once: bounds memory


@dataclass(frozen=True)
class Smoothing:
    """How a classifier is smoothed.

    Attributes:
        sigma: standard deviation of the noise, in units of the full range of a pixel.
        selection: n_0, noisy images that choose the class.
        estimation: n, further ones that estimate its probability.
        steps: draws of (t, eps) for each, where the model has draws.
        seed: of noise and draws.

    Raises:
        ValueError: a number is out of range.
    """

    sigma: float
    selection: int = SELECTION
    estimation: int = ESTIMATION
    steps: int = CERTIFY_STEPS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 10:
            raise ValueError(f"sigma must be above 0 and at most 10, not {self.sigma:g}")
        if min(self.selection, self.estimation) < 1:
            raise ValueError("selection and estimation take at least one noisy image each")


@dataclass(frozen=True)
class Certificate:
    """What is certain of the smoothed classifier's answer for one image.

    Attributes:
        label: number of the class among the model's answers; None if it abstains, because no class
            is certainly named by more than half of the noisy images.
        probability: lower bound of the share of noisy images that are given the label.
        radius: L2 distance within which no change of the pixels alters the answer, in units of the
            full range of a pixel; 0 if it abstains.
    """

    label: int | None
    probability: float
    radius: float


def votes(model: Model, pixels: Tensor, smoothing: Smoothing, index: int = 0) -> Tensor:
    """Count what the model names an image under noise.

    Args:
        model: the classifier to smooth.
        pixels: (C, H, W) in [0, 1], at the codec's size, on the model's device.
        smoothing: how much noise, and how often.
        index: number of the image: its noise depends on it and on the seed alone.

    Returns:
        (2, K) int64, on the CPU: how often each class was named among the ``selection`` and among
        the ``estimation`` noisy images.

    Raises:
        ValueError: the model answers NaN, or ``smoothing.steps`` is out of range.
    """
    scorer = Scorer(model, steps=smoothing.steps, seed=smoothing.seed)
    streams = (
        (_SELECTION_STREAM, smoothing.selection),
        (_ESTIMATION_STREAM, smoothing.estimation),
    )
    return torch.stack(
        [
            _named(model, scorer, pixels, smoothing, stream, index * count, count)
            for stream, count in streams
        ]
    )


def certificate(counts: Tensor, sigma: float, alpha: float = ALPHA) -> Certificate:
    """Return what the votes prove; wrong with a probability of at most ``alpha``.

    The paper's CERTIFY: the first votes choose the class, and the others bound its probability
    from below (Clopper and Pearson, Biometrika 1934).

    Args:
        counts: (2, K) of `votes`.
        sigma: of the noise.
        alpha: allowed probability that the certificate does not hold.

    Raises:
        ValueError: ``alpha`` is not within (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha:g}")
    label = int(counts[0].argmax())
    probability = least_share(int(counts[1, label]), int(counts[1].sum()), alpha)
    if probability <= 0.5:
        return Certificate(None, probability, 0.0)
    return Certificate(label, probability, sigma * NormalDist().inv_cdf(probability))


@lru_cache(maxsize=4096)
def least_share(named: int, images: int, alpha: float) -> float:
    """Return the lower confidence bound of a share (Clopper and Pearson, Biometrika 1934).

    Args:
        named: how often it happened.
        images: out of how many.
        alpha: probability that the share lies below the bound.
    """
    from scipy.stats import beta  # takes long to import

    return float(beta.ppf(alpha, named, images - named + 1)) if named else 0.0


@torch.inference_mode()
def _named(
    model: Model,
    scorer: Scorer,
    pixels: Tensor,
    smoothing: Smoothing,
    stream: int,
    first: int,
    count: int,
) -> Tensor:
    """Return how often each class is named among noisy images ``first``.. of a stream, (K,)."""
    found = torch.zeros(len(model.answers), dtype=torch.int64)
    for start in range(first, first + count, _AT_ONCE):
        numbers = list(range(start, min(start + _AT_ONCE, first + count)))
        noise = standard_normal(smoothing.seed, stream, numbers, tuple(pixels.shape))
        noisy = pixels + smoothing.sigma * noise.to(pixels.device)
        answers = scorer(model.settings.codec.to_x0(255 * noisy)).probabilities.argmax(dim=1).cpu()
        found += torch.bincount(answers, minlength=len(found))
    return found
