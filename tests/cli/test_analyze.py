import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.test_app import Answer, failure

DATA = "synthetic:count=14,size=16"


def test_an_analysis_tells_its_cost_first(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    common = ["analyze", "--model", str(tiny_folder), "--data", DATA, "--steps", "2"]
    common += ["--output", str(output)]
    planned = Answer(*common, "--dry-run")
    assert (planned.code, planned.out) == (0, "")
    assert "tiny: 14 images to measure, 28 network evaluations, about" in planned.err
    assert not output.exists()
    answer = Answer(*common, "--json")
    assert answer.code == 0
    assert json.loads(answer.out) == json.loads((output / "analysis.json").read_text())
    # Drawing takes longest, and once is enough here.
    monkeypatch.setattr("emodc.experiments.analysis.output.save_figure", lambda *_: [])
    again = Answer(*common)
    assert "tiny: finished" in again.err
    assert again.out.startswith("| model | accuracy |")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--steps", "0"], "between 1 and 1000"),
        (["--limit", "3"], "at least 8 faces"),
        (["--split", "dev"], "dev"),
        (["--model", "nothing"], "no model 'nothing'"),
        (["--data", "folder:nowhere"], "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_of_an_analysis_is_one_line(
    arguments: list[str], reason: str, tiny_folder: Path, tmp_path: Path
) -> None:
    common = ["analyze", "--model", str(tiny_folder), "--data", DATA]
    assert reason in failure(*common, "--output", str(tmp_path / "out"), *arguments)


def test_one_model_twice_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    models = ["--model", str(tiny_folder)] * 2
    common = ["analyze", *models, "--data", DATA, "--output", str(tmp_path / "out")]
    assert "models to compare need different names" in failure(*common)


def test_faces_are_drawn(tiny_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "faces.png"
    answer = Answer(
        *("sample", "--model", tiny_folder, "--class", "happy", "--class", "fear"),
        *("--output", output, "--count", "3", "--steps", "2", "--guidance", "2"),
    )
    assert (answer.code, answer.out) == (0, "")
    page = Image.open(io.BytesIO(output.read_bytes()))
    facts = json.loads(page.info["emodc"])
    assert facts["classes"] == ["happiness", "fear"]
    assert (facts["steps"], facts["guidance"], facts["seed"]) == (2, 2.0, 0)


def test_the_way_between_two_classes_is_drawn(tiny_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "way.png"
    answer = Answer(
        *("sample", "--model", tiny_folder, "--interpolate", "sad", "happy"),
        *("--output", output, "--count", "2", "--steps", "2", "--sampler", "dpm-solver"),
    )
    assert (answer.code, answer.out) == (0, "")
    page = Image.open(io.BytesIO(output.read_bytes()))
    facts = json.loads(page.info["emodc"])
    assert (facts["interpolate"], facts["sampler"]) == (["sadness", "happiness"], "dpm-solver")
    assert page.height > 3 * page.width / 2  # seven rows of two faces


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--class", "bored"], "unknown class 'bored'"),
        (["--class", "happy", "--interpolate", "sad", "fear"], "not both"),
        (["--interpolate", "sad", "bored"], "unknown class 'bored'"),
        (["--sampler", "euler"], "sampler is one of ddim, dpm-solver"),
        (["--count", "0"], "count must be at least 1"),
        (["--steps", "1001"], "between 1 and 1000"),
        (["--guidance", "nan"], "finite"),
        (["--output", "faces.jpg"], "ends with .png"),
        (["--output", "nowhere/faces.png"], "there is no folder nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_of_drawing_is_one_line(
    arguments: list[str], reason: str, tiny_folder: Path, tmp_path: Path
) -> None:
    common = ["sample", "--model", str(tiny_folder), "--output", str(tmp_path / "a.png")]
    assert reason in failure(*common, *arguments)
