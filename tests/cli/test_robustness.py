import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emodc.model.decision import NoiseFloor
from emodc.model.model import Model
from emodc.model.store import save_model
from tests.calibration.test_calibrate import DECISION
from tests.cli.test_app import Answer, failure

DATA = "synthetic:count=7,size=16"


def test_two_models_are_compared(tiny_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    output = tmp_path / "out"
    common = ["robustness", "--model", str(tiny_folder), "--model", str(other), "--data", DATA]
    common += ["--steps", "1", "--severities", "5", "--limit", "5", "--output", str(output)]
    common += ["--attack", "pgd", "--suite", "noise-blur", "--eps", "2/255", "--iterations", "1"]
    common += ["--eot", "2", "--checked", "0"]
    planned = Answer(*common, "--dry-run")
    assert (planned.code, planned.out) == (0, "")
    assert planned.err.count("network evaluations at most, about") == 2
    assert not output.exists()

    answer = Answer(*common, "--json")
    assert answer.code == 0
    report = json.loads(answer.out)
    assert report == json.loads((output / "report.json").read_text())
    # Both call themselves tiny, so they go by what was asked for.
    assert [model["name"] for model in report["models"]] == [str(tiny_folder), str(other)]
    assert report["baseline"] == str(other)
    first, second = (model["corrupted"]["accuracy"] for model in report["models"])
    assert first == second
    assert report["models"][0]["corrupted"]["difference"] == 0
    assert {row["defence"] for row in report["attacks"]} == {"fixed draws", "fresh draws"}
    assert all(row["eps"] == pytest.approx(2 / 255) for row in report["attacks"])

    again = Answer(*common, "--baseline", str(tiny_folder), "--no-figures")
    assert again.err.count("finished") == 2
    assert again.out.startswith("| model |")
    assert json.loads((output / "report.json").read_text())["baseline"] == str(tiny_folder)


def test_plain_scoring_is_tested_beside_noise_aware_scoring(
    tiny_model: Model, tmp_path: Path
) -> None:
    floor = NoiseFloor(texture=0.1, least=0.1)
    save_model(tiny_model.with_noise_floor(floor), tmp_path / "model")
    common = ("--model", tmp_path / "model", "--data", DATA, "--steps", "2", "--severities", "5")
    answer = Answer(
        *("robustness", *common, "--plain-too", "--no-figures", "--json"),
        *("--output", tmp_path / "out"),
    )
    assert answer.code == 0
    names = [model["name"] for model in json.loads(answer.out)["models"]]
    assert names == ["tiny (plain)", "tiny"]
    evaluated = (
        "evaluate",
        "--model",
        tmp_path / "model",
        "--data",
        DATA,
        "--steps",
        "2",
        "--json",
    )
    noticed, ignored = Answer(*evaluated), Answer(*evaluated, "--ignore-noise")
    assert json.loads(noticed.out)["nll"] != json.loads(ignored.out)["nll"]


def test_sequential_scoring_is_tested_beside_plain_scoring(
    tiny_model: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    save_model(replace(tiny_model, decision=DECISION), tmp_path / "model")
    models = ["--model", str(tiny_folder), "--model", str(tmp_path / "model")]
    common = ["robustness", *models, "--data", DATA, "--steps", "2", "--severities", "5"]
    common += ["--no-figures", "--json"]
    for number, delta in enumerate((["--adaptive"], ["--adaptive", "0.05"])):
        answer = Answer(*common, *delta, "--output", tmp_path / str(number))
        assert answer.code == 0
        report = json.loads(answer.out)
        names = [tiny_folder, f"{tmp_path / 'model'} (sequential)", tmp_path / "model"]
        assert [model["name"] for model in report["models"]] == list(map(str, names))
        assert report["baseline"] == str(tmp_path / "model")
    assert "no stopping threshold" in failure(*common, "--adaptive", "0.001")
    uncalibrated = failure("robustness", *models[:2], "--data", DATA, "--adaptive")
    assert "requires a calibrated model" in uncalibrated


def test_images_made_on_one_model_are_shown_to_the_others(
    tiny_folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    common = ["robustness", "--model", str(tiny_folder), "--model", str(other), "--data", DATA]
    common += ["--steps", "1", "--no-figures", "--transfer-from", str(other)]
    attack = ["--attack", "pgd", "--iterations", "1", "--checked", "2"]
    answer = Answer(*common, *attack, "--json", "--output", tmp_path / "out")
    assert answer.code == 0
    report = json.loads(answer.out)
    assert [(row["model"], row.get("made_on")) for row in report["attacks"]] == [
        (str(tiny_folder), None),
        (str(tiny_folder), str(other)),
        (str(other), None),
    ]
    assert f"on {other}" in (tmp_path / "out" / "report.md").read_text()
    assert "--transfer-from: give --attack" in failure(*common)
    wrong = [*common[:-1], "stranger", *attack]
    assert "--transfer-from stranger: no such model among" in failure(*wrong)
    alone = ["robustness", *common[3:], *attack]
    assert "give at least two models" in failure(*alone)


def test_unreadable_faces_are_told(tiny_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("happiness", "fear"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for number in range(3):
            path = tmp_path / "faces" / name / f"{number}.png"
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:100])
    answer = Answer(
        *("robustness", "--model", tiny_folder, "--data", f"folder:{tmp_path / 'faces'}"),
        *("--steps", "1", "--severities", "1", "--no-figures", "--output", tmp_path / "out"),
    )
    assert answer.code == 1
    assert answer.errors == ["emodc: error: 1 image could not be read; see 'skipped' in the report"]
    assert "Skipped" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--suite", "fog"], "known are noise-blur, rafdb-c, all, rafdb-p"),
        (["--severities", "1,6"], "severities are among 1, 2, 3, 4, 5, not 1, 6"),
        (["--severities", "mild"], "--severities mild: give numbers such as 1,3,5"),
        (["--eps", "1/255"], "--eps: give --attack, to which it belongs"),
        (["--norm", "l2", "--minimal"], "--norm, --minimal: give --attack"),
        (["--attack", "apgd", "--eps", "1/0"], "--eps 1/0: give a number or a fraction"),
        (["--attack", "fgsm"], "known are apgd, pgd, square"),
        (["--steps", "0"], "between 1 and 1000"),
        (["--baseline", "resnet"], "--baseline resnet: no such model among tiny"),
        (["--limit", "0"], "at least one image"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str], reason: str, tiny_folder: Path, tmp_path: Path
) -> None:
    common = ["robustness", "--model", str(tiny_folder), "--data", DATA, "--no-figures"]
    assert reason in failure(*common, "--output", str(tmp_path / "out"), *arguments)
