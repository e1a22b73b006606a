"""Mutated models: each answers in numbers, or is refused in one line; none runs code."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emodc.inference.scorer import Scorer
from emodc.model.model import Model
from emodc.model.store import load_model, save_model
from tests.calibration.test_calibrate import DECISION
from tests.reliability.campaign import Campaign, resident_memory
from tests.reliability.models import Files, mutator
from tests.reliability.test_inputs import LENGTHS, holds

MOST_RESIDENT = 1_500_000_000
"""What the process may have grown by, in bytes."""


@pytest.fixture(scope="module")
def whole(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a calibrated model."""
    folder = tmp_path_factory.mktemp("whole")
    save_model(replace(tiny_model, decision=DECISION), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def answer(folder: Path, files: Files) -> None:
    """Write a model, load it, and ask it about an image, plainly and sequentially."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    model = load_model(folder)
    repr(model)
    x0 = torch.zeros(1, *model.settings.codec.shape)
    if x0.numel() > 10_000:  # allowed, but it would only take time
        return
    for steps in (1, None):
        found = Scorer(model, steps=steps)(x0).probabilities
        assert bool(found.isfinite().all())
        assert found.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("extent", LENGTHS)
def test_mutated_models_answer_or_are_refused(
    extent: dict[str, float], whole: Files, tmp_path: Path
) -> None:
    before = resident_memory()
    campaign = Campaign("models", mutator(whole), lambda files: answer(tmp_path, files))
    holds(campaign.run(**extent), least=20)  # type: ignore[arg-type]
    assert resident_memory() - before < MOST_RESIDENT


def test_the_undamaged_model_is_answered(whole: Files, tmp_path: Path) -> None:
    answer(tmp_path, whole)
