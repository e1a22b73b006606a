from pathlib import Path

import pytest
import torch

from emodc.backbones.face_unet import FaceUNetConfig
from emodc.checkpoint import Model, build_backbone, save_model
from emodc.codecs import PixelCodec
from emodc.config import ModelSettings
from emodc.decision import Decision
from emodc.faces import FER2013_GEOMETRY
from emodc.labels import BASIC7


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    """A model with random weights for pictures of 16 pixels; not to be changed."""
    settings = ModelSettings(
        codec=PixelCodec(size=16),
        backbone=FaceUNetConfig(patch=2, widths=(8, 8, 8, 8), depths=(1, 1, 1), embedding=16),
    )
    schedule = settings.schedule.build()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone(settings, len(BASIC7), schedule)
    return Model(
        name="tiny",
        settings=settings,
        label_set=BASIC7,
        geometry=FER2013_GEOMETRY,
        backbone=backbone.eval(),
        schedule=schedule,
        decision=Decision(scale=40.0),
        facts={"samples": 0},
    )


@pytest.fixture(scope="session")
def tiny_folder(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on disk; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_model, folder)
    return folder
