import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emodc.method.errors import Measure
from emodc.method.forecast import Forecast
from emodc.method.sequential import (
    KeepBest,
    Outcome,
    Settled,
    draw_order,
    score_sequentially,
)

BLOCK = 4
FORECAST = Forecast(0.01 * torch.ones(40, 40).double() + 0.08 * torch.eye(40).double())


def world(
    images: int = 60, classes: int = 5, draws: int = 40, seed: int = 0, gap: float = 0.3
) -> Tensor:
    """Gaussian errors whose paired gaps between classes are noisy around a true advantage.

    The larger part of an error is common to all classes, as it is with real draws.
    """
    g = torch.Generator().manual_seed(seed)
    common = torch.rand(images, 1, draws, generator=g) * 5
    level = gap * torch.rand(images, classes, 1, generator=g)
    return (common + level + 0.2 * torch.randn(images, classes, draws, generator=g)).float()


def known(errors: Tensor) -> Measure:
    return lambda image, draw, prompts: errors[image.unsqueeze(1), prompts, draw.unsqueeze(1)]


def score(errors: Tensor, rule: Any, **changes: Any) -> Outcome:
    images, classes, draws = errors.shape
    options: dict[str, Any] = {"block": BLOCK, "pairs": 48}
    order = draw_order(draws)
    return score_sequentially(known(errors), images, classes, order, rule, **(options | changes))


def settled(threshold: float) -> Settled:
    return Settled(threshold=threshold, forecast=FORECAST)


def same(first: Outcome, second: Outcome) -> None:
    for name, values in vars(first).items():
        torch.testing.assert_close(values, getattr(second, name), rtol=1e-9, atol=1e-9)


@given(draws=st.integers(1, 120))
def test_every_few_draws_span_the_timesteps(draws: int) -> None:
    order = draw_order(draws)
    assert sorted(order.tolist()) == list(range(draws))
    for taken in range(2, draws + 1):
        places = sorted([0, *order[:taken].tolist(), draws - 1])
        widest = max(after - before for before, after in itertools.pairwise(places))
        assert widest <= 2 * draws / taken + 2  # no gap much wider than even spacing leaves


def test_without_a_limit_of_patience_the_answer_is_that_of_all_draws() -> None:
    errors = world()
    outcome = score(errors, settled(float("inf")))
    means = errors.double().mean(dim=2)
    assert torch.equal(outcome.label, means.argmin(dim=1))
    torch.testing.assert_close(outcome.gaps, means - means.min(dim=1, keepdim=True).values)
    assert outcome.draws.tolist() == [40] * 60
    assert outcome.evaluations.tolist() == [40 * 5] * 60
    assert float(outcome.gap_error.max()) == 0  # nothing is left to be drawn


def test_a_bolder_threshold_takes_less_work_and_differs_more() -> None:
    errors = world(images=400)
    final = errors.double().mean(dim=2).argmin(dim=1)
    found = [score(errors, settled(limit), pairs=400 * BLOCK) for limit in (6.0, 2.5, 0.5)]
    draws = [float(each.draws.double().mean()) for each in found]
    differ = [float((each.label != final).double().mean()) for each in found]
    assert 40 > draws[0] > draws[1] > draws[2] >= BLOCK
    assert differ[0] <= differ[1] <= differ[2]
    assert differ[0] < 0.01
    assert differ[2] > 0.05


@settings(deadline=None, max_examples=25)
@given(threshold=st.floats(0.3, 5), seed=st.integers(0, 99), data=st.data())
def test_batch_order_and_ragged_packing_change_nothing(
    threshold: float, seed: int, data: st.DataObject
) -> None:
    errors = world(images=10, seed=seed)
    rule = settled(threshold)
    plain = score(errors, rule)
    for pairs in (1, 3 * BLOCK, 500):  # one image at a time, three, all
        same(plain, score(errors, rule, pairs=pairs))
    ragged = score(errors, rule, drop_classes=True)
    assert torch.equal(ragged.label, plain.label)
    assert torch.equal(ragged.draws, plain.draws)
    torch.testing.assert_close(ragged.gaps, plain.gaps)
    assert bool((ragged.evaluations <= plain.evaluations).all())
    order = torch.tensor(data.draw(st.permutations(range(10))))
    shuffled = score(errors[order], rule)
    same(Outcome(**{k: v[order] for k, v in vars(plain).items()}), shuffled)


def test_permuting_the_classes_permutes_the_answer() -> None:
    errors = world()
    order = torch.tensor([3, 0, 4, 1, 2])
    plain, permuted = score(errors, settled(2.0)), score(errors[:, order], settled(2.0))
    assert torch.equal(order[permuted.label], plain.label)
    torch.testing.assert_close(permuted.gaps, plain.gaps[:, order])
    assert torch.equal(permuted.draws, plain.draws)


@pytest.mark.parametrize("budget", [1, 3, 6, 8, 40, 99])
def test_the_budget_is_kept_to_the_draw(budget: int) -> None:
    errors = world()
    asked: list[tuple[int, int]] = []

    def counting(image: Tensor, draw: Tensor, prompts: Tensor) -> Tensor:
        asked.extend(zip(image.tolist(), draw.tolist(), strict=True))
        return known(errors)(image, draw, prompts)

    outcome = score_sequentially(
        counting, 60, 5, draw_order(40), settled(50.0), block=BLOCK, budget=budget
    )
    assert outcome.draws.tolist() == [min(budget, 40)] * 60
    assert len(asked) == len(set(asked)) == 60 * min(budget, 40)
    assert outcome.evaluations.tolist() == [5 * min(budget, 40)] * 60


def test_ragged_packing_evaluates_only_classes_in_the_race() -> None:
    errors = world(images=200)
    found = 0

    def counting(image: Tensor, draw: Tensor, prompts: Tensor) -> Tensor:
        nonlocal found
        assert prompts.shape[1] == 1
        found += len(image)
        return known(errors)(image, draw, prompts)

    outcome = score_sequentially(
        counting,
        200,
        5,
        draw_order(40),
        settled(2.0),
        block=BLOCK,
        drop_classes=True,
    )
    assert found == int(outcome.evaluations.sum())
    assert found < 0.8 * int(outcome.draws.sum()) * 5


def test_keep_best_is_the_published_algorithm() -> None:
    errors = world(images=30)
    stages = [(8, 3), (20, 1)]
    outcome = score(errors, KeepBest(stages), drop_classes=True)
    order = draw_order(40)
    for image in range(30):
        after8 = errors[image][:, order[:8]].double().mean(dim=1)
        best3 = after8.argsort()[:3]
        after20 = errors[image][best3][:, order[:20]].double().mean(dim=1)
        assert int(outcome.label[image]) == int(best3[after20.argmin()])
    assert outcome.draws.tolist() == [20] * 30
    assert outcome.evaluations.tolist() == [8 * 5 + 12 * 3] * 30


def test_weights_decide() -> None:
    errors = torch.zeros(1, 2, 40)
    errors[0, 0, 20:], errors[0, 1, :20] = 1.0, 2.0
    weights = torch.cat([torch.full((20,), 0.2), torch.full((20,), 1.8)])
    assert int(score(errors, settled(float("inf"))).label) == 0
    assert int(score(errors, settled(float("inf")), weights=weights).label) == 1


def test_the_standard_error_is_that_of_the_gap_over_all_draws() -> None:
    # Images with one true gap: how far forecasts are off is what is reported.
    errors = world(images=4000, classes=2, draws=40, gap=0.0)
    exact = Forecast(1e-9 * torch.ones(40, 40).double() + 0.08 * torch.eye(40).double())
    outcome = score(errors, Settled(threshold=1e-4, forecast=exact), budget=BLOCK)
    gap = (errors[:, 1] - errors[:, 0]).double()
    forecast = outcome.gaps[:, 1] - outcome.gaps[:, 0]
    off = forecast - gap.mean(dim=1)
    assert float(outcome.gap_error.square().mean().sqrt()) == pytest.approx(
        float(off.square().mean().sqrt()), rel=0.05
    )
