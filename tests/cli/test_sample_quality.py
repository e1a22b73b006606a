import json
from pathlib import Path

from typer.testing import CliRunner

from emodc.cli.app import app


def test_the_report_is_printed_and_written(tiny_folder: Path, tmp_path: Path) -> None:
    words = ["sample-quality", "--model", str(tiny_folder), "--data", "synthetic:count=28,size=16"]
    words += ["--count", "3", "--steps", "2", "--guidance", "1.5", "--device", "cpu"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "3 faces per class by tiny, read by baseline-cnn" in shown.stdout
    assert "ddim, 2 steps, guidance 1.5, seed 0" in shown.stdout
    assert sum(line.split()[:1] == ["happiness"] for line in shown.stdout.splitlines()) == 1
    file = tmp_path / "quality.json"
    printed = CliRunner().invoke(app, [*words, "--json", "--output", str(file)])
    assert json.loads(printed.stdout) == json.loads(file.read_text())


def test_a_judge_that_predicts_noise_only_is_refused_by_name(tiny_folder: Path) -> None:
    words = [
        "sample-quality",
        "--model",
        "baseline-cnn",
        "--data",
        "synthetic:count=28",
        "--count",
        "1",
    ]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "predicts no noise" in refused.stderr
