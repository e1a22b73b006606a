import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emodc.method.objectives import AMDiT, Base, FixedMargin, HardNeg, Objective, Softmax

WITH_NEGATIVES: list[Objective] = [FixedMargin(), AMDiT(), HardNeg(), Softmax()]

error = st.floats(1 / 64, 2.0, width=32)


def errors(d_p: list[float], d_n: list[list[float]], d_nn: list[float]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(values, requires_grad=True) for values in (d_p, d_n, d_nn))


def gradients(objective: Objective, *values: Any) -> list[list[Any]]:
    """Gradients of the summed loss by d_p, d_n and d_nn; 0 where there is no path."""
    d = errors(*values)
    found = torch.autograd.grad(objective(*d).sum(), d, allow_unused=True)
    return [
        (torch.zeros_like(x) if g is None else g).tolist() for x, g in zip(d, found, strict=True)
    ]


def value(objective: Objective, *values: Any) -> float:
    return objective(*errors(*values))[0].item()


@settings(deadline=None)
@given(error, error, error)
def test_the_papers_three_are_their_formulas(d_p: float, d_n: float, d_nn: float) -> None:
    case = [d_p], [[d_n]], [d_nn]
    assert value(Base(), *case) == pytest.approx(d_p)
    margin = FixedMargin(weight=2.0, margin=0.3)
    assert value(margin, *case) == pytest.approx(d_p + 2 * max(0, d_p - d_n + 0.3), abs=1e-5)
    amdit = AMDiT(weight=2.0, alpha=0.3)
    assert value(amdit, *case) == pytest.approx(d_p + 2 * max(0, d_p - d_n + 0.3 * d_nn), abs=1e-5)


@pytest.mark.parametrize("objective", WITH_NEGATIVES, ids=lambda o: o.kind)
def test_an_unmet_margin_pulls_d_p_down_and_pushes_d_n_up(objective: Objective) -> None:
    by_d_p, by_d_n, _ = gradients(objective, [1.0], [[1.001]], [1.0])
    assert by_d_p[0] > 0
    assert by_d_n[0][0] < 0


@settings(deadline=None)
@given(error, st.floats(1.01, 3.0), st.sampled_from([FixedMargin(margin=0.2), AMDiT(alpha=0.2)]))
def test_pushing_d_n_up_helps_until_the_margin_is_met(
    d_p: float, factor: float, objective: Objective
) -> None:
    edge = d_p + 0.2 * (1 if isinstance(objective, FixedMargin) else d_p)
    below, above = d_p + (edge - d_p) / factor, d_p + (edge - d_p) * factor
    assert gradients(objective, [d_p], [[below]], [d_p])[1][0][0] < 0
    # A satisfied hinge is Base: in value, and in every gradient.
    met = [d_p], [[above]], [d_p]
    assert value(objective, *met) == value(Base(), *met)
    assert gradients(objective, *met) == gradients(Base(), *met)


@settings(deadline=None)
@given(error, error, error, st.floats(0.1, 10.0))
def test_amdit_is_scale_free_and_a_fixed_margin_is_not(
    d_p: float, d_n: float, d_nn: float, k: float
) -> None:
    one, other = ([d_p], [[d_n]], [d_nn]), ([k * d_p], [[k * d_n]], [k * d_nn])
    for objective in (AMDiT(alpha=0.5), HardNeg(), Base()):
        expected = k * value(objective, *one)
        assert value(objective, *other) == pytest.approx(expected, abs=1e-5 * (1 + k))
    # L(d) - d_p tells the hinge of equal errors, where only the margin is left.
    tie = FixedMargin(margin=0.5)
    assert value(tie, [k], [[k]], [k]) - k == pytest.approx(0.5, abs=1e-5)


def test_the_margin_follows_the_reference_but_teaches_it_nothing_when_detached() -> None:
    case = [1.0], [[1.1]], [0.8]
    detached, attached = AMDiT(alpha=0.5), AMDiT(alpha=0.5, detach_reference=False)
    assert value(detached, *case) == value(attached, *case) == pytest.approx(1.0 + 0.3)
    assert gradients(detached, *case) == [[2.0], [[-1.0]], [0.0]]
    assert gradients(attached, *case) == [[2.0], [[-1.0]], [0.5]]


@pytest.mark.parametrize(
    ("detach", "slope"), [(True, 1 + 1), (False, 1 + 1.5)], ids=["detached", "attached"]
)
def test_with_the_positive_reference_only_the_attached_margin_pulls_d_p(
    detach: bool, slope: float
) -> None:
    d_p = torch.tensor([1.0], requires_grad=True)
    loss = AMDiT(alpha=0.5, detach_reference=detach)(d_p, torch.tensor([[1.2]]), d_p)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert d_p.grad is not None
    assert d_p.grad.item() == pytest.approx(slope)


def test_hinges_are_averaged_over_negatives_and_never_over_samples() -> None:
    d_p, d_n, d_nn = errors([1.0, 0.5], [[1.1, 0.8, 9.0], [0.5, 0.5, 0.5]], [1.0, 0.5])
    loss = AMDiT(alpha=0.2)(d_p, d_n, d_nn)
    expected = [1.0 + (0.1 + 0.4 + 0.0) / 3, 0.5 + 0.1]
    assert loss.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", WITH_NEGATIVES, ids=lambda o: o.kind)
def test_negatives_have_no_order(objective: Objective) -> None:
    generator = torch.Generator().manual_seed(0)
    d_p, d_n = torch.rand(5, generator=generator), torch.rand(5, 6, generator=generator)
    shuffled = d_n[:, torch.randperm(6, generator=generator)]
    torch.testing.assert_close(objective(d_p, d_n, d_p), objective(d_p, shuffled, d_p))


def test_hardneg_leaves_negatives_beyond_its_bound_alone() -> None:
    objective = HardNeg(weight=0.5, cap=1.2)
    assert value(objective, [1.0], [[1.1]], [1.0]) == pytest.approx(1.0 - 0.5 * 1.1)
    assert gradients(objective, [1.0], [[1.1]], [1.0])[:2] == [[1.0], [[-0.5]]]
    # The bound itself is a constant: it does not reward a larger d_p.
    assert value(objective, [1.0], [[1.3]], [1.0]) == pytest.approx(1.0 - 0.5 * 1.2)
    assert gradients(objective, [1.0], [[1.3]], [1.0])[:2] == [[1.0], [[0.0]]]


def test_softmax_is_the_cross_entropy_of_relative_gaps() -> None:
    objective = Softmax(weight=2.0, tau=0.1)
    weights = [math.exp(-d / (0.1 * 0.5)) for d in (0.5, 0.55, 0.6)]
    expected = 0.5 - 2.0 * math.log(weights[0] / sum(weights))
    assert value(objective, [0.5], [[0.55, 0.6]], [0.5]) == pytest.approx(expected, rel=1e-5)


@settings(deadline=None)
@given(error, error, st.floats(0.001, 0.5))
def test_softmax_falls_as_a_negative_rises(d_p: float, d_n: float, step: float) -> None:
    def cross_entropy(negative: float) -> float:
        return value(Softmax(tau=1.0), [d_p], [[negative]], [d_p])

    assert cross_entropy(d_n + step) <= cross_entropy(d_n)
    assert cross_entropy(d_p + step) < cross_entropy(d_p)
    # Its unit is d_p: multiplying all errors leaves the cross-entropy as it is.
    far = value(Softmax(tau=1.0), [4 * d_p], [[4 * d_n]], [d_p]) - 4 * d_p
    assert far == pytest.approx(cross_entropy(d_n) - d_p, abs=1e-4)
