import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.data import FaceData, open_data
from emodc.evaluation import shifted_faces
from emodc.evaluation.shifted_faces import SHIFTS, shifted, warped, zoomed
from emodc.evaluation.shifts import evaluate_shifts, parse_shifts
from emodc.evaluation.statistics import mean_class_interval
from emodc.faces.detector import Face, FaceDetector, crop_face
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.faces.sources import read_source
from emodc.model.model import Model

DATA = "synthetic:count=28,size=48"


SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def heads() -> FaceData:
    """Three faces in which the detector finds a face."""
    pytest.importorskip("cv2", reason="needs the extra faces")
    crops = []
    for name in ("astronaut", "surprise", "happiness"):
        image = read_source(SAMPLES / f"{name}.jpg")
        crops.append(crop_face(image, FaceDetector().detect(image)[0], FER2013_GEOMETRY, 96))
    data = open_data(DATA, "test").subset(np.arange(3))
    return replace(data, reader=lambda i: crops[i], geometry=FER2013_GEOMETRY)


@pytest.mark.parametrize("shift", [name for name in SHIFTS if name not in ("none", "labels")])
def test_a_shift_changes_every_face_and_nothing_else(shift: str, heads: FaceData) -> None:
    data = heads
    changed = shifted(data, shift, seed=1)
    assert changed.labels is data.labels
    assert changed.fingerprint() != data.fingerprint()
    for i in range(3):
        before, after = data.image(i), changed.image(i)
        assert after.shape == before.shape
        assert after.dtype == np.uint8
        assert (after != before).mean() > 0.1
        assert np.array_equal(after, shifted(data, shift, seed=1).image(i))
        # The face is still there.
        assert np.corrcoef(before.flatten(), after.flatten())[0, 1] > 0.3


def test_the_identity_is_exact_and_a_zoom_is_about_the_center() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    assert np.array_equal(warped(image, np.eye(3)[:2]), image)
    image = np.zeros((41, 41), np.uint8)
    image[20, 20:31] = 200
    wide = zoomed(image, 0.5, 1.0)
    assert wide[20, 21:25].min() > 100
    assert wide[20, 27:].max() < 20
    moved = zoomed(image, 1.0, 1.0, (0.0, 10 / 41))
    assert np.array_equal(moved[30], image[20])


def test_squeezing_puts_eyes_and_mouth_where_the_geometry_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An open mouth is shut: its distance from the eyes is the same in all crops."""
    found = np.array([[30.0, 30], [66, 32], [50, 55], [40, 88], [62, 88]])  # a long face
    image = np.zeros((96, 96), np.uint8)
    points = [found[0], found[1], (found[3] + found[4]) / 2]
    for x, y in points:
        image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 255

    class Finder:
        def detect(self, shown: NDArray[np.uint8]) -> list[Face]:
            scale = shown.shape[0] / 96
            return [Face((0, 0, 1, 1), found * scale, 1.0)]

    monkeypatch.setattr(shifted_faces, "_detector", Finder)
    data = replace(open_data(DATA, "test"), reader=lambda i: image, geometry=FER2013_GEOMETRY)
    after = shifted(data, "squeezed").image(0)
    place = 96 * np.array(FER2013_GEOMETRY.landmarks)
    for x, y in [place[0], place[1], (place[3] + place[4]) / 2]:
        around = after[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
        assert around.max() > 150
    assert after[60:, :].max() > 150
    assert after[80:, :].max() < 60  # where the mouth was


def test_a_face_that_is_not_found_cannot_be_squeezed(heads: FaceData) -> None:
    blank = replace(heads, reader=lambda i: np.zeros((96, 96, 3), np.uint8))
    with pytest.raises(ValueError, match="no face found"):
        shifted(blank, "squeezed").image(0)


def test_names_of_shifts() -> None:
    assert parse_shifts("all", "fer2013plus:x") == list(SHIFTS)
    assert "labels" not in parse_shifts("all", DATA)
    assert parse_shifts("jpeg,none", DATA) == ["jpeg", "none"]
    with pytest.raises(ValueError, match="unknown shift 'fog': give all"):
        parse_shifts("fog", DATA)
    with pytest.raises(ValueError, match="two kinds of labels"):
        parse_shifts("labels", DATA)
    with pytest.raises(ValueError, match="unknown shift"):
        shifted(open_data(DATA, "test"), "fog")


def test_a_mean_class_accuracy_has_an_interval() -> None:
    low, high = mean_class_interval(torch.tensor([[90, 10], [5, 5]]))
    assert low < 0.7 < high
    assert 0.2 < high - low < 0.4
    assert mean_class_interval(torch.tensor([[4, 0], [0, 4]]))[0] < 0.9
    several = mean_class_interval(torch.tensor([[900, 100, 0], [50, 50, 0], [0, 0, 0]]))
    assert several[1] - several[0] < high - low


def test_scores_are_kept_for_another_prior(tiny_model: Model, tmp_path: Path) -> None:
    told: list[str] = []
    found = evaluate_shifts(
        tiny_model,
        DATA,
        "test",
        ["none", "gamma"],
        steps=2,
        limit=14,
        output=tmp_path,
        progress=lambda done, total, note="": told.append(note),
    )
    assert [each.shift for each in found] == ["none", "gamma"]
    assert [each.images for each in found] == [14, 14]
    assert "gamma (2 of 2)" in told
    again = evaluate_shifts(
        tiny_model, DATA, "test", ["none", "gamma"], steps=2, limit=14, output=tmp_path
    )
    assert again == found


def test_from_the_command_line(tiny_folder: Path) -> None:
    asked = ["evaluate", "--model", str(tiny_folder), "--data", DATA, "--steps", "1"]
    done = CliRunner().invoke(app, [*asked, "--shift", "none,jpeg", "--limit", "7", "--json"])
    assert done.exit_code == 0, done.output
    assert [row["shift"] for row in json.loads(done.stdout)["shifts"]] == ["none", "jpeg"]
    shown = CliRunner().invoke(app, [*asked, "--shift", "jpeg", "--limit", "7"])
    assert "mean class acc." in shown.stdout
    wrong = CliRunner().invoke(app, [*asked, "--shift", "fog"])
    assert wrong.exit_code == 2
    refused = CliRunner().invoke(app, [*asked, "--prior", "uniform"])
    assert "run emodc calibrate" in refused.stderr
