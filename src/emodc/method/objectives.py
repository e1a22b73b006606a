"""Training objectives: the paper's three and two relatives, on noise-prediction errors.

Every objective maps errors to a loss per sample and knows nothing of networks. With ``d_p``,
``d_n``, ``d_nn`` the errors (see :func:`emodc.method.schedule.noise_error`) under the true class, a
negative class and the non-negative reference prompt:

    base      d_p
    margin    d_p + w relu(d_p - d_n + m_f)
    amdit     d_p + w relu(d_p - d_n + alpha d_nn)

A sample's errors share ``x0, t, eps``. With several negatives the hinges are averaged.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

Reference = Literal["positive", "null", "non_class"]

NegativePrior = Literal["uniform", "frequency"]
"""How likely, or how heavy, each class is as a negative; see `emodc.method.prompts`."""


class Objective(Protocol):
    """What training asks of an objective."""

    @property
    def negatives(self) -> Literal["none", "one", "all"]:
        """How many negative prompts a sample is evaluated under."""

    @property
    def negative_prior(self) -> NegativePrior:
        """How negatives are drawn, or their hinges weighted."""

    @property
    def reference(self) -> Reference:
        """The non-negative prompt c_nn; ``positive`` costs no evaluation."""

    @property
    def detach_reference(self) -> bool:
        """Whether ``d_nn`` is a constant to the gradient, so that its prompt needs no graph."""

    def __call__(
        self, d_p: Tensor, d_n: Tensor, d_nn: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the loss of each sample.

        Args:
            d_p: (B,) float32, error under the true class.
            d_n: (B, N) float32, errors under the negative classes.
            d_nn: (B,) float32, error under the reference prompt.
            weights: (B, N) float32, what each negative counts for; 1 if not given.

        Returns:
            (B,) float32.
        """


@dataclass(frozen=True, kw_only=True)
class _Contrastive:
    """Settings of the objectives that evaluate negatives.

    Attributes:
        negatives: one class drawn from the others, as in the paper, or all of them.
        weight: w, the weight of what is added to ``d_p``.

    Raises:
        ValueError: a number is negative or not finite.
    """

    negatives: Literal["one", "all"] = "one"
    weight: float = 1.0

    def __post_init__(self) -> None:
        numbers = {k: v for k, v in vars(self).items() if isinstance(v, float | int)}
        for name, value in numbers.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, not {value}")


@dataclass(frozen=True, kw_only=True)
class _PerNegative(_Contrastive):
    """Settings of the objectives that add a term for each negative.

    Attributes:
        negative_prior: ``uniform``, as in the paper, or by class ``frequency``. Under uniform
            negatives the pair (class a, prompt b) is trained as often as class a is met, so class
            frequencies become part of the score. By frequency, (a, b) and (b, a) count alike, and
            the score compares likelihoods.
    """

    negative_prior: NegativePrior = "uniform"


def _mean(terms: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over the negatives: (B, N) -> (B,)."""
    return (terms if weights is None else terms * weights).mean(dim=1)


class _ErrorAlone:
    """What evaluates no other prompt."""

    negative_prior: ClassVar[NegativePrior] = "uniform"
    detach_reference: ClassVar[bool] = False

    def __call__(
        self, d_p: Tensor, d_n: Tensor, d_nn: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return ``d_p`` (B,)."""
        return d_p


@dataclass(frozen=True, kw_only=True)
class Base(_ErrorAlone):
    """Vanilla conditional diffusion training: ``d_p`` (the paper's Base)."""

    kind: Literal["base"] = "base"
    negatives: Literal["none"] = "none"
    reference: Literal["positive"] = "positive"


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(_ErrorAlone):
    """How discriminative baselines are trained: ``-log p(c_p | x)``, which is their ``d_p``."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    negatives: Literal["none"] = "none"
    reference: Literal["positive"] = "positive"


@dataclass(frozen=True, kw_only=True)
class FixedMargin(_PerNegative):
    """Margin discrepancy training with one margin for all samples (the paper's m_f).

    Attributes:
        margin: m_f, in units of the error (mean square over elements).
    """

    kind: Literal["margin"] = "margin"
    reference: Literal["positive"] = "positive"
    detach_reference: ClassVar[bool] = False
    margin: float = 0.01

    def __call__(
        self, d_p: Tensor, d_n: Tensor, d_nn: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return ``d_p + w relu(d_p - d_n + m_f)`` (B,)."""
        hinge = torch.relu(d_p.unsqueeze(1) - d_n + self.margin)
        return d_p + self.weight * _mean(hinge, weights)


@dataclass(frozen=True, kw_only=True)
class AMDiT(_PerNegative):
    """Adaptive margin discrepancy training: the margin follows the sample's own difficulty.

    ``d_nn`` measures how hard the noise of this image is to predict at this step, whatever its
    class, so a margin of ``alpha d_nn`` asks the same *relative* gap of every sample and the
    loss is scale-free: L(k d) = k L(d).

    Attributes:
        reference: the non-negative prompt c_nn.
        detach_reference: whether ``d_nn`` is a constant to the gradient.
        alpha: the margin as a share of ``d_nn``.
    """

    kind: Literal["amdit"] = "amdit"
    reference: Reference = "positive"
    detach_reference: bool = True
    alpha: float = 0.2

    def __call__(
        self, d_p: Tensor, d_n: Tensor, d_nn: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return ``d_p + w relu(d_p - d_n + alpha d_nn)`` (B,)."""
        margin = self.alpha * (d_nn.detach() if self.detach_reference else d_nn)
        hinge = torch.relu((d_p + margin).unsqueeze(1) - d_n)
        return d_p + self.weight * _mean(hinge, weights)


@dataclass(frozen=True, kw_only=True)
class HardNeg(_PerNegative):
    """HardNeg-DiffusionITM (Krojer et al., NeurIPS 2023): push d_n up to a multiple of d_p.

    Attributes:
        cap: k; negatives whose error already exceeds ``k d_p`` are left alone.
    """

    kind: Literal["hardneg"] = "hardneg"
    reference: Literal["positive"] = "positive"
    detach_reference: ClassVar[bool] = False
    cap: float = 1.2

    def __call__(
        self, d_p: Tensor, d_n: Tensor, d_nn: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return ``d_p - w min(d_n, k d_p)`` (B,), the bound held constant."""
        pushed = torch.minimum(d_n, self.cap * d_p.detach().unsqueeze(1))
        return d_p - self.weight * _mean(pushed, weights)


@dataclass(frozen=True, kw_only=True)
class Softmax(_Contrastive):
    """Cross-entropy of the diffusion classifier itself: softmax over ``-d_c / (tau d_p)``.

    The posterior of Li et al. (ICCV 2023, Eq. 6) for one draw, in units of the detached
    ``d_p``, so that ``tau`` means a relative gap.

    Attributes:
        tau: the relative gap that is worth one nat.
    """

    kind: Literal["softmax"] = "softmax"
    negative_prior: ClassVar[NegativePrior] = "uniform"
    reference: Literal["positive"] = "positive"
    detach_reference: ClassVar[bool] = False
    negatives: Literal["one", "all"] = "all"
    tau: float = 0.1

    def __call__(
        self, d_p: Tensor, d_n: Tensor, d_nn: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return ``d_p + w CE`` (B,), the true class first among the logits."""
        errors = torch.cat([d_p.unsqueeze(1), d_n], dim=1)  # (B, 1+N)
        logits = -errors / (self.tau * d_p.detach().unsqueeze(1))
        return d_p - self.weight * torch.log_softmax(logits, dim=1)[:, 0]
