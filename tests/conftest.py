import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from emodc.backbones.face_unet import FaceUNetConfig
from emodc.codecs import PixelCodec
from emodc.data import alignment
from emodc.faces.detector import Face, FaceDetector
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.labels import BASIC7
from emodc.model.decision import Decision
from emodc.model.model import Model, build_backbone
from emodc.model.settings import ModelSettings
from emodc.model.store import save_model

# The networks here are small; and tests of several processes fork this one, which a pool of threads
# would not survive.
torch.set_num_threads(1)


class Remembering(FaceDetector):
    """Looks only once for the faces in an image."""

    known: ClassVar[dict[tuple[object, ...], list[Face]]] = {}

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        key = self.threshold, self.working_size, image.shape, image.tobytes()
        if key not in self.known:
            self.known[key] = super().detect(image)
        return list(self.known[key])


@pytest.fixture(scope="session", autouse=True)
def _landmarks_once() -> Iterator[None]:
    """Every training measures where its faces show the landmarks: longer than a tiny run takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "FaceDetector", Remembering)
        yield


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    """A model with random weights for images of 16 pixels; not to be changed."""
    settings = ModelSettings(
        codec=PixelCodec(size=16),
        backbone=FaceUNetConfig(patch=2, widths=(8, 8, 8, 8), depths=(1, 1, 1), embedding=16),
    )
    schedule = settings.schedule.build()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone(settings, BASIC7, schedule)
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
def sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion checkpoint that predicts eps; not to be changed."""
    pytest.importorskip("diffusers", reason="needs the extra sd")
    from tiny_sd import write_tiny_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "eps"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def sd_v_folder(sd_folder: Path) -> Path:
    """The same weights, said to predict v; not to be changed."""
    folder = sd_folder.with_name("v")
    shutil.copytree(sd_folder, folder)
    settings = folder / "scheduler" / "scheduler_config.json"
    described = json.loads(settings.read_text())
    settings.write_text(json.dumps(described | {"prediction_type": "v_prediction"}))
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on disk; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_model, folder)
    return folder
