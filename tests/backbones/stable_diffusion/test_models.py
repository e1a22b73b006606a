"""Fine-tuned Stable Diffusion models on disk: our own reader, and plain diffusers."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers", reason="needs the extra sd")

from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from emodc.backbones.stable_diffusion.checkpoint import BASE_FOLDER
from emodc.backbones.stable_diffusion.unet import LORA, UNET
from emodc.inference.classifier import EmotionClassifier
from emodc.labels import BASIC7
from emodc.model.decision import Decision
from emodc.model.model import Model, build_backbone
from emodc.model.settings import ModelSettings
from emodc.model.store import load_model, save_model

TUNINGS: dict[str, dict[str, Any]] = {
    "full": {"tune": "full"},
    "lora": {"tune": "lora", "rank": 4, "alpha": 6.0, "tune_prompts": True},
    "prompts": {"tune": "prompts"},
}


def make(base: Path, tuning: str) -> Model:
    """A model whose trained weights are not those it began with."""
    backbone = {"kind": "stable_diffusion", "path": str(base), **TUNINGS[tuning]}
    settings = ModelSettings.model_validate({"backbone": backbone})
    schedule = settings.schedule.build()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_backbone(settings, BASIC7, schedule)
        for weight in network.trained().values():
            weight.data += 0.05 * torch.randn_like(weight)
    return Model(
        name="tiny-sd",
        settings=settings,
        label_set=BASIC7,
        geometry=None,
        backbone=network.eval(),
        schedule=schedule,
        decision=Decision(scale=10.0),
    )


@pytest.fixture(scope="module", params=TUNINGS)
def model(request: pytest.FixtureRequest, sd_folder: Path) -> Model:
    return make(sd_folder, request.param)


@pytest.fixture(scope="module")
def lora(sd_folder: Path) -> Model:
    return make(sd_folder, "lora")


def batch() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    return (
        torch.randn(2, 4, 8, 8, generator=g),
        torch.tensor([100, 700]),
        torch.tensor([[0, 3]] * 2),
    )


def predictions(model: Model) -> Tensor:
    with torch.no_grad():
        return model.predict_noise(*batch())


def test_a_saved_model_answers_as_before(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert torch.equal(predictions(loaded), predictions(model))
    assert loaded.settings == model.settings
    assert loaded.backbone.trained().keys() == model.backbone.trained().keys()
    stored = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    of_base = (Path(model.backbone.base["path"]) / UNET).stat().st_size
    assert (stored > of_base) == (model.settings.backbone.tune == "full")  # type: ignore[union-attr]


def test_half_precision_files_are_close(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path, torch.float16)
    torch.testing.assert_close(
        predictions(load_model(tmp_path)), predictions(model), atol=2e-2, rtol=2e-2
    )


def test_plain_diffusers_reads_the_lora_with_its_scale(
    lora: Model, sd_folder: Path, tmp_path: Path
) -> None:
    save_model(lora, tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(sd_folder)
    xt, t, prompts = batch()
    texts = lora.backbone.get_parameter("prompts").detach()[prompts[:, 1]]
    with torch.no_grad():
        before = pipeline.unet(xt, t, texts).sample
        pipeline.load_lora_weights(tmp_path)
        after = pipeline.unet(xt, t, texts).sample
    torch.testing.assert_close(after, predictions(lora)[:, 1], atol=1e-5, rtol=1e-5)
    assert (after - before).abs().max() > 0.01  # the LoRA does something
    image = pipeline("a photo of a happy face", num_inference_steps=2, output_type="np").images
    assert image.shape == (1, 16, 16, 3)


def test_plain_diffusers_reads_the_unet(sd_folder: Path, tmp_path: Path) -> None:
    full = make(sd_folder, "full")
    save_model(full, tmp_path)
    unet = UNet2DConditionModel.from_pretrained(tmp_path, subfolder="unet")
    xt, t, prompts = batch()
    texts = full.backbone.get_parameter("prompts").detach()[prompts[:, 0]]
    with torch.no_grad():
        torch.testing.assert_close(unet(xt, t, texts).sample, predictions(full)[:, 0])
    assert str(sd_folder) not in (tmp_path / "unet" / "config.json").read_text()


def test_a_classifier_predicts_from_photos(lora: Model, tmp_path: Path) -> None:
    save_model(lora, tmp_path)
    classifier = EmotionClassifier.from_pretrained(tmp_path, device="cpu")
    crops = [
        np.random.default_rng(i).integers(256, size=(40, 30, 3), dtype=np.uint8) for i in (0, 1)
    ]
    rows = classifier.predict(crops, steps=2, from_crops=True)
    assert [row.status for row in rows] == ["ok", "ok"]
    assert rows[0].prompt_evaluations == 2 * len(BASIC7)


def test_another_base_checkpoint_is_refused(
    lora: Model, sd_folder: Path, sd_v_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Path(shutil.copytree(sd_folder, tmp_path / "base"))
    made = make(moved, "lora")
    save_model(made, tmp_path / "model")
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=BASE_FOLDER):
        load_model(tmp_path / "model")
    monkeypatch.setenv(BASE_FOLDER, str(sd_v_folder))
    with pytest.raises(ValueError, match="another checkpoint"):
        load_model(tmp_path / "model")
    monkeypatch.setenv(BASE_FOLDER, str(tmp_path / "elsewhere"))
    assert torch.equal(predictions(load_model(tmp_path / "model")), predictions(lora))


def test_files_of_two_models_are_refused(lora: Model, sd_folder: Path, tmp_path: Path) -> None:
    save_model(lora, tmp_path / "one")
    other = replace(lora, backbone=make(sd_folder, "lora").backbone)
    next(w for name, w in other.backbone.trained().items() if "lora" in name).data += 1
    save_model(other, tmp_path / "two")
    shutil.copy(tmp_path / "two" / LORA, tmp_path / "one" / LORA)
    with pytest.raises(ValueError, match=f"{LORA}: not the file"):
        load_model(tmp_path / "one")
    (tmp_path / "one" / LORA).unlink()
    with pytest.raises(ValueError, match=LORA):
        load_model(tmp_path / "one")
