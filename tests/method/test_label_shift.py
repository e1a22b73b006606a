import pytest
import torch
from torch import Tensor

from emodc.method.label_shift import (
    binomial_tail,
    class_weights,
    estimate_prior,
    least_probabilities,
    rate_p_value,
)

UNIFORM = torch.full((3,), 1 / 3, dtype=torch.float64)
COMMON = torch.tensor([0.8, 0.15, 0.05], dtype=torch.float64)


def world(images: int, shares: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Log-likelihoods (N, 3) of Gaussian classes, and classes drawn from a prior."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(shares, images, replacement=True, generator=g)
    means = torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, 2.0]], dtype=torch.float64)
    x = means[labels] + torch.randn(images, 2, generator=g, dtype=torch.float64)
    return -(x.unsqueeze(1) - means).square().sum(dim=2) / 2, labels


def posterior(log_likelihood: Tensor, shares: Tensor) -> Tensor:
    return torch.softmax(log_likelihood + shares.log(), dim=1)


def test_weights_make_the_validation_images_a_sample_of_the_prior() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    weights = class_weights(labels, UNIFORM)
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 1.0, 2.0]).double())
    assert float(weights[labels].mean()) == pytest.approx(1.0)
    missing = class_weights(torch.tensor([0, 0, 1]), torch.tensor([0.5, 0.5, 0.0]).double())
    assert missing.tolist() == [0.75, 1.5, 0.0]
    assert class_weights(torch.tensor([0, 0, 1]), UNIFORM)[2] == torch.inf


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("shares", [UNIFORM, torch.tensor([0.1, 0.1, 0.8]).double()])
def test_sets_cover_images_of_another_prior_as_promised(coverage: float, shares: Tensor) -> None:
    held, plain = [], []
    for seed in range(60):
        d, labels = world(300, COMMON, seed)
        new, truth = world(300, shares, 1000 + seed)
        p, q = posterior(d, shares), posterior(new, shares)
        ones = torch.ones(3, dtype=torch.float64)
        rows = torch.arange(300)
        least = least_probabilities(p, labels, coverage, class_weights(labels, shares))
        held.append(float((q >= least)[rows, truth].double().mean()))
        least = least_probabilities(p, labels, coverage, ones)
        plain.append(float((q >= least)[rows, truth].double().mean()))
    # Few images of the class that becomes common make the sets a little too large, never too small.
    assert coverage - 0.015 < sum(held) / 60 < coverage + 0.06
    if shares[2] > 0.5:
        assert abs(sum(plain) / 60 - coverage) > 0.03  # without weights the promise is broken


def test_equal_weights_are_plain_split_conformal_prediction() -> None:
    d, labels = world(199, UNIFORM, 0)
    p = posterior(d, UNIFORM)
    least = least_probabilities(p, labels, 0.9, torch.ones(3).double())
    p_true = p[torch.arange(199), labels].sort().values
    assert least.tolist() == [float(p_true[19])] * 3  # 20 of 200, the new image among them


def test_too_few_images_admit_every_class_and_excluded_ones_never_enter() -> None:
    p, labels = torch.tensor([[0.9, 0.1]] * 5), torch.zeros(5, dtype=torch.int64)
    assert least_probabilities(p, labels, 0.9, torch.ones(2).double()).tolist() == [0.0, 0.0]
    assert least_probabilities(p, labels, 0.9, torch.tensor([1.0, 0.0]).double())[1] == 1.0
    assert least_probabilities(p, labels, 0.5, torch.tensor([1.0, torch.inf]).double())[1] == 0.0


def test_binomial_tail() -> None:
    assert binomial_tail(0, 10, 0.5) == pytest.approx(2**-10)
    assert binomial_tail(10, 10, 0.3) == pytest.approx(1.0)
    assert binomial_tail(2, 4, 0.5) == pytest.approx(11 / 16)


@pytest.mark.parametrize("rates", [(0.05, 0.05, 0.05), (0.0, 0.0, 0.15), (0.15, 0.0, 0.0)])
def test_a_rate_as_high_as_tested_is_rarely_refuted(rates: tuple[float, ...]) -> None:
    """The rate under the uniform prior is 0.05, wherever the hits are."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400).mul(3).div(400, rounding_mode="floor")
    labels = torch.cat([labels, torch.zeros(600, dtype=torch.int64)])  # class 0 is common
    weights = class_weights(labels, UNIFORM)[labels]
    chance = torch.tensor(rates)[labels]
    refuted = sum(
        rate_p_value(torch.rand(1000, generator=g) < chance, weights, 0.05) <= 0.05
        for _ in range(400)
    )
    assert refuted <= 32  # 20 expected at most; more than 32 would be a chance of 1 in 200


def test_a_low_rate_is_refuted_and_unseen_classes_count_as_hits() -> None:
    labels = torch.arange(3000) % 3
    none = torch.zeros(3000, dtype=torch.bool)
    shares = torch.tensor([0.5, 0.3, 0.2]).double()
    weights = class_weights(labels, shares)[labels]
    assert rate_p_value(none, weights, 0.01) < 1e-3
    two = labels < 2
    weights = class_weights(labels[two], shares)[labels[two]]
    assert rate_p_value(none[two], weights, 0.2) > 0.99  # a fifth is not known
    assert rate_p_value(none[two], weights, 0.25) < 0.05


def test_em_finds_the_prior_of_unlabeled_images() -> None:
    for shares in (UNIFORM, torch.tensor([0.2, 0.7, 0.1]).double()):
        d, labels = world(8000, shares, 3)
        found = estimate_prior(posterior(d, COMMON), COMMON)
        drawn = torch.bincount(labels, minlength=3) / 8000
        assert float(found.sum()) == pytest.approx(1.0)
        torch.testing.assert_close(found, drawn.double(), atol=0.02, rtol=0)
