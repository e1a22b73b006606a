import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch
from torch import Tensor, nn

from emodc.backbones.base import Classifier
from emodc.codecs.normalized import NormalizedCodec
from emodc.inference.smoothing import (
    Smoothing,
    certificate,
    least_share,
    votes,
)
from emodc.model.decision import Decision
from emodc.model.model import Model


class Slope(Classifier):
    """Class 1 where the mean pixel is above a half, else class 0: its true radius is known."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        logits = torch.full((len(x0), self.classes), -100.0)
        above = x0.mean(dim=(1, 2, 3))  # x0 is pixels less a half
        logits[:, 0], logits[:, 1] = -above, above
        return 1e4 * logits

    def hidden_weights(self) -> list[nn.Parameter]:
        return []


@pytest.fixture
def slope(tiny_model: Model) -> Model:
    codec = NormalizedCodec(size=8, mean=(0.5,), std=(1.0,))
    settings = tiny_model.settings.model_copy(update={"codec": codec})
    return replace(
        tiny_model,
        settings=settings,
        backbone=Slope(len(tiny_model.label_set)).eval(),
        decision=Decision(scale=1.0),
    )


def test_the_radius_of_a_linear_classifier_is_its_distance_to_the_boundary(slope: Model) -> None:
    """Of a linear classifier the theorem is exact (Cohen et al., appendix B)."""
    pixels = torch.full((1, 8, 8), 0.53)
    distance = 0.03 * 8  # moving all 64 pixels by .03
    counts = votes(slope, pixels, Smoothing(0.25, estimation=4000))
    found = certificate(counts, 0.25)
    assert found.label == 1
    assert 0.8 * distance < found.radius < distance
    share = float(counts[1, 1]) / 4000
    assert 0.25 * NormalDist().inv_cdf(share) == pytest.approx(distance, rel=0.1)


def test_votes_depend_on_seed_and_number_alone(slope: Model) -> None:
    pixels, smoothing = torch.full((1, 8, 8), 0.502), Smoothing(0.5, 70, 130)
    found = votes(slope, pixels, smoothing, 5)
    assert found.sum(dim=1).tolist() == [70, 130]
    assert torch.equal(found, votes(slope, pixels, smoothing, 5))
    others = [votes(slope, pixels, smoothing, 6), votes(slope, pixels, replace(smoothing, seed=1))]
    assert not any(torch.equal(found, other) for other in others)


def test_a_diffusion_model_is_smoothed(tiny_model: Model) -> None:
    pixels = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = votes(tiny_model, pixels, Smoothing(0.1, 3, 66, steps=2))
    assert found.sum(dim=1).tolist() == [3, 66]


def test_no_certificate_without_a_certain_majority() -> None:
    close = certificate(torch.tensor([[60, 40], [540, 460]]), 0.25)
    assert (close.label, close.radius) == (None, 0.0)
    assert close.probability < 0.5
    # The class comes from the first votes alone: estimating what was chosen by them is unbiased.
    chosen = certificate(torch.tensor([[40, 60], [900, 100]]), 0.25)
    assert chosen.label is None


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    # If all n votes agree, the bound is alpha^(1/n).
    assert least_share(1000, 1000, 0.001) == pytest.approx(0.001 ** (1 / 1000))
    assert least_share(0, 1000, 0.001) == 0.0
    # P(X >= 7 | p) = alpha at the bound.
    bound = least_share(7, 10, 0.05)
    tail = sum(math.comb(10, k) * bound**k * (1 - bound) ** (10 - k) for k in range(7, 11))
    assert tail == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [({"sigma": 0.0}, "sigma"), ({"sigma": 0.1, "estimation": 0}, "at least one")],
)
def test_what_cannot_smooth_is_refused(values: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Smoothing(**values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alpha"):
        certificate(torch.ones(2, 3), 0.25, alpha=0.0)
