from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from emodc.backbones.base import Backbone
from emodc.backbones.face_classifier import FaceClassifierConfig
from emodc.codecs import PixelCodec
from emodc.data import FaceData, open_data
from emodc.experiments.analysis import Measurement
from emodc.experiments.analysis.measurement import require_comparable
from emodc.inference.scorer import Scorer
from emodc.labels import BASIC7, BASIC8
from emodc.method.draws import draw_bank
from emodc.method.schedule import ShiftedCosine, add_noise, noise_error
from emodc.model.decision import Decision, NoiseFloor
from emodc.model.model import Model, build_backbone


@pytest.fixture
def faces() -> FaceData:
    return open_data("synthetic:count=28,size=16", "test")


class Asleep(Backbone):
    """A network with the weights of another one that is never to be asked."""

    shares_trunk = True

    def __init__(self, like: Backbone) -> None:
        super().__init__()
        self.like = like

    def weights(self) -> dict[str, Tensor]:
        return self.like.weights()

    def hidden_weights(self) -> list[torch.nn.Parameter]:
        return []

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        raise AssertionError("measured again")

    def forward(self, *_: Any, **__: Any) -> tuple[Tensor, None]:
        raise AssertionError("measured again")


def test_prompts_are_told_apart(tiny_model: Model, faces: FaceData, tmp_path: Path) -> None:
    measurement = Measurement({"tiny": tiny_model}, faces, tmp_path, steps=3, limit=14, seed=5)
    (found,) = measurement.run()
    x0 = tiny_model.settings.codec.encode([measurement.sample.data.image(4)])
    bank = draw_bank(1000, 3, (1, 16, 16), 5)
    draw = 2
    t, eps = bank.t[draw : draw + 1], bank.eps[draw : draw + 1]
    with torch.no_grad():
        predicted = tiny_model.predict_noise(
            add_noise(tiny_model.schedule, x0, eps, t), t, torch.arange(9).unsqueeze(0)
        )
    expected = noise_error(predicted, eps)[0]  # (9,): classes, null, non-class
    true = int(found.labels[4])
    assert found.d_p[4, draw] == pytest.approx(float(expected[true]), rel=1e-5)
    assert found.d_null[4, draw] == pytest.approx(float(expected[7]), rel=1e-5)
    assert found.d_nc[4, draw] == pytest.approx(float(expected[8]), rel=1e-5)
    others = [k for k in range(7) if k != true]
    assert found.d_n[4, :, draw].tolist() == pytest.approx(expected[others].tolist(), rel=1e-5)
    assert len(found.labels) == 14


def test_the_answers_are_the_models_own(tiny_model: Model, faces: FaceData, tmp_path: Path) -> None:
    """Mirror images, noise that faces carry, weights and gain count as they do elsewhere."""
    decision = Decision(
        scale=40.0,
        mirror=True,
        weights=(1.5, 0.5),
        noise_floor=NoiseFloor(texture=0.05, least=0.1, gain=2.0),
    )
    model = replace(tiny_model, decision=decision)
    (found,) = Measurement({"tiny": model}, faces, tmp_path, steps=4, seed=3).run()
    x0 = model.settings.codec.encode(list(faces.readable()))
    _, sigma = model.observe(x0)
    assert bool((sigma > 0).any())
    answers = Scorer(model, steps=4, seed=3)(x0).probabilities
    torch.testing.assert_close(found.probabilities, answers)
    # The errors themselves are those of the network, without the gain of the decision.
    raw = replace(
        model,
        decision=decision.model_copy(update={"noise_floor": NoiseFloor(texture=0.05, least=0.1)}),
    )
    torch.testing.assert_close(found.errors, raw.class_errors(x0, raw.draws(4, 3)))


def test_what_is_measured_is_kept(tiny_model: Model, faces: FaceData, tmp_path: Path) -> None:
    first = Measurement({"tiny": tiny_model}, faces, tmp_path, steps=2)
    cost = first.cost()[0]
    assert cost.work == {"images to measure": 28, "network evaluations": 56}
    (found,) = first.run()
    assert isinstance(tiny_model.backbone, Backbone)
    asleep = replace(tiny_model, backbone=Asleep(tiny_model.backbone))
    again = Measurement({"another name": asleep}, faces, tmp_path, steps=2)
    assert again.cost()[0].work["images to measure"] == 0
    (kept,) = again.run()
    assert kept.name == "another name"
    assert torch.equal(kept.errors, found.errors)
    next(first.folder.rglob("0000016.safetensors")).unlink()
    assert first.cost()[0].work["images to measure"] == 12
    with pytest.raises(AssertionError, match="measured again"):
        again.run()
    for changed in ({"steps": 3}, {"steps": 2, "seed": 1}, {"steps": 2, "limit": 14}):
        with pytest.raises(ValueError, match=r"another (steps|seed|data)"):
            Measurement({"tiny": tiny_model}, faces, tmp_path, **changed).run()


def test_progress_counts_all_models(tiny_model: Model, faces: FaceData, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    models = {"one": tiny_model, "two": tiny_model}
    Measurement(models, faces, tmp_path, steps=1).run(lambda *now: told.append(now))
    assert told[0] == (0, 56, "one")
    assert told[-1] == (56, 56, "two")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_what_cannot_be_compared_is_refused(tiny_model: Model) -> None:
    settings = tiny_model.settings
    baseline = build_backbone(
        settings.model_copy(update={"backbone": FaceClassifierConfig(widths=(8, 8, 8))}),
        BASIC7,
        tiny_model.schedule,
    )
    with pytest.raises(ValueError, match="'cnn' is a discriminative classifier"):
        require_comparable({"cnn": replace(tiny_model, backbone=baseline)})
    slower = ShiftedCosine(median_sigma=0.5)
    for what, other in {
        "noise schedule": replace(
            tiny_model, settings=settings.model_copy(update={"schedule": slower})
        ),
        "codec": replace(
            tiny_model, settings=settings.model_copy(update={"codec": PixelCodec(size=32)})
        ),
        "label set": replace(tiny_model, label_set=BASIC8),
    }.items():
        with pytest.raises(ValueError, match=f"'b' and 'a' cannot be compared: another {what}"):
            require_comparable({"a": tiny_model, "b": other})
    with pytest.raises(ValueError, match="at least one model"):
        require_comparable({})


def test_few_faces_and_many_steps_are_refused(
    tiny_model: Model, faces: FaceData, tmp_path: Path
) -> None:
    models = {"tiny": tiny_model}
    with pytest.raises(ValueError, match="at least 8 faces, not 7"):
        Measurement(models, faces, tmp_path, limit=7)
    with pytest.raises(ValueError, match="between 1 and 1000, not 1001"):
        Measurement(models, faces, tmp_path, steps=1001)
    with pytest.raises(ValueError, match="at least one image"):
        Measurement(models, faces, tmp_path, limit=0)


def test_a_model_that_diverged_is_named(tiny_model: Model, faces: FaceData, tmp_path: Path) -> None:
    class Diverged(Asleep):
        def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
            return torch.full((*prompts.shape, *xt.shape[1:]), torch.nan)

    assert isinstance(tiny_model.backbone, Backbone)
    diverged = replace(tiny_model, backbone=Diverged(tiny_model.backbone))
    with pytest.raises(ValueError, match="model 'bad' predicts NaN"):
        Measurement({"bad": diverged}, faces, tmp_path, steps=1).run()
