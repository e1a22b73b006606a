import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from emodc.calibration.typicality import reference
from emodc.cli.app import app
from emodc.data import open_data
from emodc.experiments.outliers import Outliers, kinds
from emodc.experiments.outliers.measurement import separation
from emodc.experiments.outliers.output import outlier_table, summarize, write_report
from emodc.inference.typicality import null_errors, typicality
from emodc.model.model import Model
from emodc.model.store import load_model, save_model

FACES = open_data("synthetic:count=21,size=16", "test")


@pytest.fixture(scope="module")
def knowing(tiny_model: Model) -> Model:
    x0 = tiny_model.settings.codec.encode([FACES.image(i) for i in range(14)])
    return replace(tiny_model, typicality=reference(null_errors(tiny_model, x0, 4)))


def test_auroc_and_fpr_are_those_of_their_definitions() -> None:
    typical = torch.tensor([0.1, 0.5, 0.5, 0.9] * 25)
    other = torch.tensor([0.0, 0.5, 1.0])
    found = separation(typical, other)
    pairs = [(a > b) + 0.5 * (a == b) for a in typical.tolist() for b in other.tolist()]
    assert found.auroc == pytest.approx(sum(pairs) / len(pairs))
    assert found.fpr95 == pytest.approx(2 / 3)  # all but .0 lie above the lowest typical .1
    assert found.auroc_ci95[0] < found.auroc < found.auroc_ci95[1]
    perfect = separation(typical, torch.full((5,), -1.0))
    assert (perfect.auroc, perfect.auroc_ci95, perfect.fpr95) == (1.0, (1.0, 1.0), 0.0)
    assert separation(typical, typical).auroc == pytest.approx(0.5)


def test_kinds_are_what_their_names_say() -> None:
    face = np.arange(48 * 48, dtype=np.uint32).reshape(48, 48).astype(np.uint8)
    assert np.array_equal(kinds.upside_down(face), face[::-1])
    assert np.array_equal(kinds.cut(face)[:, 12:36], face[:, :24])
    assert (kinds.cut(face)[:, :12] == face[:, :1]).all()
    covered = kinds.occluded(face)
    assert np.array_equal(covered[:24], face[:24])
    assert (covered[24:, 6:-6] == 128).all()
    assert len(np.unique(kinds.low_resolution(face)[20])) < len(np.unique(face[20]))
    color = np.repeat(face[:, :, None], 3, axis=2)
    for spoil in kinds.SPOILED.values():
        assert spoil(color).shape == color.shape
        assert spoil(color).dtype == np.uint8
    for make in (kinds.noise, kinds.drawn):
        first, second = make(4, 1), make(4, 1)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert not np.array_equal(first[0], make(4, 2)[0])


def test_patches_are_square_and_of_the_pictures_in_turn() -> None:
    pictures = [np.full((40, 90), 1, np.uint8), np.full((20, 20), 2, np.uint8)]
    found = kinds.patches(pictures, 9, 0)
    assert [int(patch.max()) for patch in found] == [1, 2] * 4 + [1]
    assert all(patch.shape[0] == patch.shape[1] for patch in found)
    assert {len(patch) for patch in found[1::2]} == {20}
    assert len({len(patch) for patch in found[::2]}) > 1


def test_things_come_from_scikit_image() -> None:
    pytest.importorskip("skimage", reason="needs the extra outliers")
    for make in (kinds.objects, kinds.textures):
        assert all(patch.ndim == 3 and patch.dtype == np.uint8 for patch in make(15, 0))


def test_every_model_has_the_scores_that_it_can_have(knowing: Model, tmp_path: Path) -> None:
    work = Outliers({"tiny": knowing, "cnn": load_model("baseline-cnn")}, FACES, steps=2)
    others = {"noise": kinds.noise(20, 0)}
    told: list[tuple[int, int]] = []
    found = work.run(others, lambda done, total, note="": told.append((done, total)))
    assert {name: list(scores) for name, scores in found.items()} == {
        "tiny": ["typicality", "softmax"],
        "cnn": ["softmax", "energy"],
    }
    faces, noise = (knowing.settings.codec.encode(c) for c in (work.crops(), others["noise"]))
    expected = separation(typicality(knowing, faces), typicality(knowing, noise))
    assert found["tiny"]["typicality"]["noise"] == expected
    assert told[-1] == (82, 82)
    report = summarize(work, found, others)
    write_report(report, tmp_path)
    assert json.loads((tmp_path / "outliers.json").read_text()) == json.loads(json.dumps(report))
    page = (tmp_path / "outliers.md").read_text()
    assert all(line in page for line in outlier_table(report))
    assert "21 faces of synthetic test against 20 noise" in page


def test_the_command_takes_a_folder_of_ones_own(knowing: Model, tmp_path: Path) -> None:
    save_model(knowing, tmp_path / "model")
    (tmp_path / "plates").mkdir()
    Image.fromarray(kinds.noise(1, 5)[0]).save(tmp_path / "plates" / "a.png")
    words = ["outliers", "--data", "synthetic:size=16", "--model", str(tmp_path / "model")]
    words += ["--limit", "7", "--count", "4", "--steps", "1", "--output", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, [*words, "--folder", str(tmp_path / "plates")])
    assert shown.exit_code == 0, shown.output
    assert "| drawn | plates |" in shown.stdout
    (tmp_path / "empty").mkdir()
    refused = CliRunner().invoke(app, [*words, "--folder", str(tmp_path / "empty")])
    assert refused.exit_code == 2
    assert "empty" in refused.stderr
