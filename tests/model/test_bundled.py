"""The bundled models, as they ship."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from emodc import EmotionClassifier
from emodc.backbones.base import WEIGHTS
from emodc.labels import BASIC7
from emodc.model.store import bundled_folder, bundled_models
from emodc.training.recipe import load_recipe, parse_recipe
from freeze_bundled import mean_errors

GENERATOR = "face48-base"
"""Draws faces, and is where training begins; it was never taught to tell expressions apart."""

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize("name", bundled_models())
def test_they_are_small_and_half_precision(name: str) -> None:
    weights = bundled_folder(name) / WEIGHTS
    assert weights.stat().st_size < 20_000_000
    with safe_open(weights, framework="pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118


@pytest.mark.parametrize("name", bundled_models())
def test_they_say_what_they_are(name: str) -> None:
    model = EmotionClassifier.from_pretrained(name).model
    assert model.name == name
    assert model.label_set == BASIC7
    assert parse_recipe(model.facts["recipe"], name) == load_recipe(name)
    assert "fer2013plus test" in (bundled_folder(name) / "README.md").read_text()


@pytest.mark.parametrize("name", sorted({*bundled_models()} - {GENERATOR}))
@pytest.mark.parametrize(
    ("file", "label"),
    [("astronaut", "happiness"), ("surprise", "surprise"), ("neutral", "neutral")],
)
def test_they_name_clear_expressions(file: str, label: str, name: str) -> None:
    (row,) = EmotionClassifier.from_pretrained(name).predict(SAMPLES / f"{file}.jpg")
    assert row.label == label
    assert row.probabilities is not None
    assert row.probabilities[label] > 0.8


@pytest.mark.parametrize("name", bundled_models())
def test_they_answer_as_when_they_were_shipped(name: str) -> None:
    frozen = json.loads((Path(__file__).parents[1] / "frozen" / f"{name}.json").read_text())
    found = mean_errors(name, frozen["data"], frozen["steps"])
    expected = torch.tensor(frozen["errors"], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    # The classes differ by more than that, or nothing would be held.
    assert float((expected - expected.roll(1, dims=1)).abs().median()) > 3e-4
