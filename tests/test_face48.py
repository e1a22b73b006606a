"""The bundled model, as it ships."""

from pathlib import Path

import pytest
from safetensors import safe_open

from emodc import EmotionClassifier
from emodc.backbones.base import WEIGHTS
from emodc.config import load_recipe, parse_recipe
from emodc.labels import BASIC7
from emodc.model_files import bundled_folder

FOLDER = bundled_folder("face48")
SAMPLES = Path(__file__).parent.parent / "samples"


def test_it_is_small_and_half_precision() -> None:
    assert (FOLDER / WEIGHTS).stat().st_size < 20_000_000
    with safe_open(FOLDER / WEIGHTS, framework="pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118


def test_it_says_what_it_is() -> None:
    model = EmotionClassifier.from_pretrained("face48").model
    assert model.name == "face48"
    assert model.label_set == BASIC7
    assert parse_recipe(model.facts["recipe"], "face48") == load_recipe("face48")
    assert (FOLDER / "README.md").exists()


@pytest.mark.parametrize(
    ("file", "label"),
    [("astronaut", "happiness"), ("surprise", "surprise"), ("neutral", "neutral")],
)
def test_it_names_clear_expressions(file: str, label: str) -> None:
    (row,) = EmotionClassifier.from_pretrained("face48").predict(SAMPLES / f"{file}.jpg")
    assert row.label == label
    assert row.probabilities is not None
    assert row.probabilities[label] > 0.8
