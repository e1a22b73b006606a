import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.data import open_data
from emodc.experiments.certification import Certification, measurement
from emodc.experiments.certification.output import certified_table, write_report
from emodc.experiments.certification.summary import summarize
from emodc.inference import smoothing
from emodc.inference.smoothing import Smoothing
from emodc.model.model import Model
from emodc.model.store import load_model

SMOOTHINGS = [Smoothing(sigma, 6, 30, steps=2) for sigma in (0.02, 0.1)]


@pytest.fixture(scope="module")
def baseline() -> Model:
    return load_model("baseline-cnn")


def work(folder: Path, tiny_model: Model, baseline: Model, **options: object) -> Certification:
    models = {"tiny": tiny_model, "baseline-cnn": baseline}
    data = open_data("synthetic:count=14,size=48", "test")
    return Certification(models, data, folder, SMOOTHINGS, limit=7, alpha=0.05, **options)  # type: ignore[arg-type]


def test_faces_are_certified_once_and_kept(
    tiny_model: Model, baseline: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = work(tmp_path, tiny_model, baseline)
    assert "7 faces" not in str(first.costs()[0])
    assert first.costs()[0].work == {"faces": 14, "noisy images": 14 * 36}
    first.run()
    report = summarize(first)
    asked = []
    monkeypatch.setattr(measurement, "votes", lambda *given: asked.append(given))
    again = work(tmp_path, tiny_model, baseline)
    again.run()
    assert summarize(again) == report
    assert not asked
    assert again.costs()[0].seconds == 0
    for model in report["models"]:
        for level in model["levels"]:
            shares = [at["accuracy"] for at in level["at_radius"]]
            assert shares == sorted(shares, reverse=True)  # a longer radius is harder
            reached = [sum(r >= d for r in level["curve"]) / 7 for d in report["radii"]]
            assert shares == pytest.approx(reached)
            assert max(level["curve"], default=0) <= level["sigma"] * 1.7  # all 30 votes, alpha .05
            assert level["abstained"] <= 1 - shares[0]
    with pytest.raises(ValueError, match="another"):
        Certification(
            {"tiny": baseline, "baseline-cnn": tiny_model},
            open_data("synthetic:count=14,size=48", "test"),
            tmp_path,
            SMOOTHINGS,
            limit=7,
        ).costs()


def test_attacks_within_the_radius_are_made_and_a_broken_certificate_is_seen(
    tiny_model: Model, baseline: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = work(tmp_path, tiny_model, baseline, attacked=3)
    tried.run()
    row = summarize(tried)["attacks"][1]
    assert (row["model"], row["faces"], row["broken"]) == ("baseline-cnn", 3, 0)

    def lying(counts: torch.Tensor, sigma: float, alpha: float) -> smoothing.Certificate:
        honest = smoothing.certificate(counts, sigma, alpha)
        return smoothing.Certificate(honest.label, honest.probability, 40.0)

    monkeypatch.setattr(measurement, "certificate", lying)
    shutil.rmtree(tmp_path / "votes" / "baseline-cnn")
    tried.run()
    assert tried.attack("baseline-cnn", SMOOTHINGS[0]).broken > 0


def test_the_report_states_its_figures(tiny_model: Model, baseline: Model, tmp_path: Path) -> None:
    done = work(tmp_path, tiny_model, baseline)
    done.run()
    report = summarize(done)
    write_report(report, tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert all(line in page for line in certified_table(report))
    assert "6 + 30 noisy images a face, 2 draws" in page
    assert (tmp_path / "certified.png").stat().st_size > 5000


def test_the_command_resumes_and_refuses(tiny_folder: Path, tmp_path: Path) -> None:
    words = ["certify", "--data", "synthetic:count=14,size=16", "--model", str(tiny_folder)]
    words += [
        "--samples",
        "20",
        "--selection",
        "4",
        "--steps",
        "1",
        "--limit",
        "2",
        "--sigma",
        ".1",
    ]
    words += ["--output", str(tmp_path), "--device", "cpu", "--attacked", "1"]
    told = CliRunner().invoke(app, [*words, "--dry-run"])
    assert "2 faces, 48 noisy images" in told.stderr
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert re.search(r"^\| `tiny` \| 0\.1 \| ", shown.stdout, re.MULTILINE)
    assert "tiny: finished" in CliRunner().invoke(app, [*words, "--dry-run"]).stderr
    for wrong, complaint in (
        (["--sigma", "0"], "sigma must be above 0"),
        (["--alpha", "1"], "alpha must be between 0 and 1"),
        (["--steps", "5000"], "steps must be between"),
    ):
        refused = CliRunner().invoke(app, [*words, *wrong])
        assert refused.exit_code == 2
        assert complaint in refused.stderr
