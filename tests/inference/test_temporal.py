from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emodc.inference.temporal import CYCLE, Evidence, Sight, TemporalScorer
from emodc.model.decision import Decision
from emodc.model.model import Model


def crops(model: Model, count: int, seed: int = 0) -> Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 16, 16), dtype=np.uint8)
    return model.settings.codec.encode(list(pixels), model.device)


def test_a_still_face_gets_the_answer_of_all_draws_once_they_are_taken(tiny_model: Model) -> None:
    scorer = TemporalScorer(tiny_model, draws=4, half_life=1e9)
    x0 = crops(tiny_model, 1)
    frames = CYCLE // 4
    found = scorer(x0.expand(frames, -1, -1, -1), [Sight(1, f / 25) for f in range(frames)])
    bank = tiny_model.draws(CYCLE)
    errors = tiny_model.class_errors(x0, bank)
    expected = tiny_model.decision.probabilities(errors, bank.t, tiny_model.schedule.timesteps)
    np.testing.assert_allclose(found[-1], expected[0], rtol=1e-4)


def test_weights_of_timesteps_count(tiny_model: Model) -> None:
    decision = Decision(scale=40.0, weights=(1.9, 0.1))
    model = replace(tiny_model, decision=decision)
    scorer = TemporalScorer(model, draws=CYCLE, half_life=0)
    x0, bank = crops(model, 1), model.draws(CYCLE)
    found = scorer(x0, [Sight(1, 0.0)])
    expected = decision.probabilities(
        model.class_errors(x0, bank), bank.t, model.schedule.timesteps
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_evidence_halves_with_its_age() -> None:
    person = Evidence(torch.zeros(2, dtype=torch.float64))
    one = torch.ones(1, dtype=torch.float64)
    person.add(torch.tensor([[1.0], [0.0]]), one, 0.0, 0.2)
    means = person.add(torch.tensor([[0.0], [1.0]]), one, 0.2, 0.2)
    np.testing.assert_allclose(means, [1 / 3, 2 / 3])
    means = person.add(torch.tensor([[0.0], [0.0]]), one, 0.6, 0.2)
    np.testing.assert_allclose(means, [0.125 / 1.375, 0.25 / 1.375])
    assert person.draws == 3


def test_no_half_life_is_frame_by_frame(tiny_model: Model) -> None:
    x0 = crops(tiny_model, 2)
    scorer = TemporalScorer(tiny_model, draws=CYCLE, half_life=0)
    both = scorer(x0, [Sight(1, 0.0), Sight(1, 0.04)])
    alone = TemporalScorer(tiny_model, draws=CYCLE, half_life=0)(x0[1:], [Sight(1, 0.0)])
    np.testing.assert_allclose(both[1], alone[0], rtol=1e-4)


def test_persons_do_not_mix_and_batches_change_nothing(tiny_model: Model) -> None:
    x0 = crops(tiny_model, 12)
    sights = [Sight(1 + f % 2, (f // 2) / 25) for f in range(12)]
    together = TemporalScorer(tiny_model, draws=3)(x0, sights)
    scorer = TemporalScorer(tiny_model, draws=3)
    apart = torch.cat([scorer(x0[f : f + 1], sights[f : f + 1]) for f in range(12)])
    np.testing.assert_allclose(together, apart, rtol=1e-4)
    alone = TemporalScorer(tiny_model, draws=3)(x0[::2], sights[::2])
    np.testing.assert_allclose(together[::2], alone, rtol=1e-4)


def test_every_frame_takes_other_draws(tiny_model: Model) -> None:
    """A still face's answers change from frame to frame, and less and less so."""
    x0 = crops(tiny_model, 1).expand(20, -1, -1, -1)
    sights = [Sight(1, f / 25) for f in range(20)]
    own = TemporalScorer(tiny_model, draws=2, half_life=0)(x0, sights)
    pooled = TemporalScorer(tiny_model, draws=2, half_life=0.4)(x0, sights)
    assert len(torch.unique(own[:, 0])) == 20
    assert float(pooled[5:].std(dim=0).mean()) < 0.5 * float(own[5:].std(dim=0).mean())


def test_going_on_from_a_state_changes_nothing(tiny_model: Model) -> None:
    x0 = crops(tiny_model, 10)
    sights = [Sight(1, f / 25) for f in range(10)]
    whole = TemporalScorer(tiny_model)(x0, sights)
    first, second = TemporalScorer(tiny_model), TemporalScorer(tiny_model)
    first(x0[:6], sights[:6])
    second.restore(first.state())
    np.testing.assert_allclose(second(x0[6:], sights[6:]), whole[6:], rtol=1e-4)
    for bad in ({"1": [1.0]}, {"x": [0.0] * 10}, {"1": None}):
        with pytest.raises(ValueError, match="state"):
            second.restore(bad)


def test_who_is_long_gone_is_forgotten(tiny_model: Model) -> None:
    scorer = TemporalScorer(tiny_model, draws=1)
    for number in range(30):
        scorer(crops(tiny_model, 1), [Sight(number, 5.0 * number)])
    assert len(scorer.state()) < 4


@pytest.mark.parametrize(
    ("draws", "half_life"), [(0, 0.2), (CYCLE + 1, 0.2), (1, -1.0), (1, float("nan"))]
)
def test_impossible_numbers_are_refused(tiny_model: Model, draws: int, half_life: float) -> None:
    with pytest.raises(ValueError, match=r"draws|half-life"):
        TemporalScorer(tiny_model, draws, half_life)
