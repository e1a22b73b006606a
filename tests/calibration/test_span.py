"""Draws that lie in a range of the timesteps alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emodc.calibration.calibrate import calibrate
from emodc.data import open_data
from emodc.inference.scorer import Scorer
from emodc.method.draws import spaced_timesteps
from emodc.model.decision import Decision
from emodc.model.identity import model_identity
from emodc.model.model import Model
from emodc.model.store import load_model, save_model

VALIDATION = open_data("synthetic:count=60,size=16", "validation")


def test_draws_are_evenly_spaced_within_the_range() -> None:
    assert spaced_timesteps(1000, 4, (400, 800)).tolist() == [450, 550, 650, 750]
    assert torch.equal(spaced_timesteps(1000, 7, (0, 1000)), spaced_timesteps(1000, 7))
    assert spaced_timesteps(1000, 3, (5, 8)).tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match="between 1 and 3, not 4"):
        spaced_timesteps(1000, 4, (5, 8))


def test_weights_are_of_bins_of_the_range() -> None:
    decision = Decision(scale=1.0, weights=(1.0, 3.0), span=(400, 800))
    t = decision.timesteps(1000, 4)
    assert decision.weights_at(t, 1000).tolist() == pytest.approx([0.5, 0.5, 1.5, 1.5])


def test_a_model_is_calibrated_and_scores_within_the_range(
    tiny_model: Model, tmp_path: Path
) -> None:
    model = calibrate(tiny_model, VALIDATION, steps=20, span=(300, 700))
    save_model(model, tmp_path)
    model = load_model(tmp_path)
    assert model.decision.span == (300, 700)
    t = model.draws(20).t
    assert (int(t.min()), int(t.max())) == (310, 690)
    x0 = model.settings.codec.encode([VALIDATION.image(i) for i in range(6)])
    for scorer in (Scorer(model), Scorer(model, steps=20)):
        assert torch.allclose(scorer(x0).probabilities.sum(dim=1), torch.ones(6).double())
    assert model_identity(model) != model_identity(tiny_model)
    again = calibrate(model, VALIDATION, steps=20)  # the range stays
    assert again.decision.span == (300, 700)
    with pytest.raises(ValueError, match="within 0 to 1000, not 700 to 300"):
        calibrate(tiny_model, VALIDATION, span=(700, 300))


def test_a_range_beyond_the_schedule_is_refused(tiny_model: Model, tmp_path: Path) -> None:

    wrong = Decision(scale=1.0, span=(0, 2000))
    save_model(replace(tiny_model, decision=wrong), tmp_path)
    with pytest.raises(ValueError, match="span goes beyond 1000 timesteps"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="a timestep and a later one"):
        Decision(scale=1.0, span=(5, 5))
