from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from emodc.calibration.typicality import reference
from emodc.inference.classifier import EmotionClassifier
from emodc.inference.typicality import null_errors, typicality
from emodc.model.model import Model
from emodc.model.store import load_model, save_model
from emodc.model.typicality import Typicality


def errors_of_faces(count: int, seed: int) -> Tensor:
    """Errors (N, 2, 4) whose logarithms are normal; the turned ones are higher by a quarter."""
    generator = torch.Generator().manual_seed(seed)
    shared, own = (torch.randn(count, 1, n, generator=generator) for n in (1, 4))
    upright = torch.tensor([0.1, 0.3, 0.6, 0.9]).log() + 0.2 * shared + 0.05 * own
    turned = upright + 0.25 + 0.05 * torch.randn(count, 1, 4, generator=generator)
    return torch.cat([upright, turned], dim=1).exp()


def crops(count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (16, 16), dtype=np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def knowing(tiny_model: Model) -> Model:
    x0 = tiny_model.settings.codec.encode(crops(12))
    return replace(tiny_model, typicality=reference(null_errors(tiny_model, x0, 4)))


def test_typical_faces_have_uniform_p_values_and_others_small_ones() -> None:
    known = reference(errors_of_faces(800, seed=0))
    p = known.p_values(errors_of_faces(4000, seed=1))
    for alpha in (0.02, 0.1, 0.3):
        assert float((p < alpha).double().mean()) <= alpha + 0.02
    assert float((p < 0.5).double().mean()) > 0.2  # they do not all come out as typical
    strange = errors_of_faces(200, seed=2)
    strange[:, 0, 3] *= 3
    turned = errors_of_faces(200, seed=3).flip(1)
    for other in (strange, turned):
        assert float(known.p_values(other).quantile(0.95)) < 0.02
    assert float(p.max()) <= 1
    assert float(known.p_values(turned).min()) == pytest.approx(2 / 401)


def test_turning_an_image_turns_its_noise(tiny_model: Model) -> None:
    x0 = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = null_errors(tiny_model, x0, 4)
    assert found.shape == (3, 2, 4)

    turned = null_errors(_upside_down(tiny_model), x0, 4)
    torch.testing.assert_close(found.flip(1), turned, rtol=1e-4, atol=1e-5)


def _upside_down(model: Model) -> Model:
    class UpsideDown(type(model.backbone)):  # type: ignore[misc]
        def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
            predicted: Tensor = super().predict_noise(xt.flip(-2), t, prompts)
            return predicted.flip(-2)

    backbone = UpsideDown(model.settings.backbone, len(model.label_set), model.schedule)
    backbone.load_state_dict(model.backbone.state_dict())
    return replace(model, backbone=backbone.eval())


def test_rejected_faces_have_a_row_and_no_answer(knowing: Model) -> None:
    classifier = EmotionClassifier(knowing)
    given = crops(5)
    plain = classifier.predict(given, from_crops=True, steps=2)
    assert all(row.typicality is None for row in plain)
    told = classifier.predict(given, from_crops=True, steps=2, reject=0.0)
    assert [row.label for row in told] == [row.label for row in plain]
    p = [row.typicality for row in told]
    assert p == pytest.approx(typicality(knowing, knowing.settings.codec.encode(given)).tolist())
    middle = sorted(p)[2]  # type: ignore[type-var]
    rows = classifier.predict(given, from_crops=True, steps=2, reject=middle)
    for row, value, answer in zip(rows, p, plain, strict=True):
        assert row.typicality == value
        assert row.status == ("atypical" if value < middle else "ok")  # type: ignore[operator]
        assert row.label == (None if row.status == "atypical" else answer.label)
        assert (row.error is None) == (row.status == "ok")
        assert row.box is not None


def test_who_knows_no_typical_faces_is_refused(tiny_model: Model, knowing: Model) -> None:
    with pytest.raises(ValueError, match="does not know which faces are typical"):
        EmotionClassifier(tiny_model).predict(crops(1), from_crops=True, reject=0.1)
    with pytest.raises(ValueError, match="a share from 0 to below 1"):
        EmotionClassifier(knowing).predict(crops(1), from_crops=True, reject=1.0)
    with pytest.raises(ValueError, match="is discriminative"):
        null_errors(load_model("baseline-cnn"), torch.zeros(1, 1, 48, 48), 2)
    with pytest.raises(ValueError, match="at least 4 faces"):
        reference(torch.ones(3, 2, 4))


def test_it_is_saved_with_the_model(knowing: Model, tmp_path: Path) -> None:
    save_model(knowing, tmp_path)
    assert load_model(tmp_path).typicality == knowing.typicality


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"center": (0.0,)},
        {"precision": ((1.0,),) * 4},
        {"ratios": (0.0,)},
        {"distances": (2.0, 1.0), "ratios": (0.0, 1.0)},
        {"steps": 10**9},
    ],
)
def test_what_makes_no_sense_is_refused(knowing: Model, change: dict[str, object]) -> None:
    assert knowing.typicality is not None
    with pytest.raises(ValidationError):
        Typicality.model_validate(knowing.typicality.model_dump() | change)
