import json
from pathlib import Path

import pytest

from emodc.experiments.study import arms
from emodc.experiments.study.arms import Setting
from emodc.training.recipe import dump_recipe
from tests.cli.test_app import Answer, failure
from tests.experiments.study.conftest import tiny
from tests.experiments.study.test_protocol import diverging

DATA = "synthetic:count=14,size=16"


@pytest.fixture
def common(tmp_path: Path) -> list[str]:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny(soft_labels=True)))
    return ["study", "--data", DATA, "--recipe", str(recipe), "--steps", "2"]


def test_a_quick_study_from_nothing(common: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    common += ["--quick", "--limit", "7", "--output", str(output)]
    planned = Answer(*common, "--dry-run")
    assert (planned.code, planned.out) == (0, ""), planned.err
    assert planned.err.count("3 trainings, 63 samples, 1 evaluations, about") == 3
    assert "synthetic has no annotators' votes: soft_labels is off" in planned.err
    assert "in all about" in planned.err
    assert not output.exists()

    answer = Answer(*common, "--json")
    assert answer.code == 0, answer.err
    report = json.loads(answer.out)
    assert report == json.loads((output / "study.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == ["base", "margin", "amdit"]
    assert report["data"]["images"]["test"] == 7
    assert report["recipe"]["soft_labels"] is False
    assert str(tmp_path) not in answer.out
    assert report["command"].endswith("--quick --recipe tiny.yaml --steps 2 --limit 7")
    assert {path.name for path in output.iterdir()} > {"study.md", "accuracy.png", "runs"}

    again = Answer(*common)
    assert again.err.count("finished") == 3
    assert again.out.startswith("| arm |")


def test_a_diverged_run_is_exit_code_one(
    common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = Setting("huge", {"margin": 1e3, "weight": 1e38})
    monkeypatch.setattr(arms, "ARMS", diverging(huge)[:2])
    answer = Answer(*common, "--seeds", "1", "--output", str(tmp_path / "out"))
    assert answer.code == 1
    assert answer.errors == ["emodc: error: 1 runs diverged; the report names them"]
    assert "| margin | diverged |" in answer.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--recipe", "baseline-cnn"], "a study compares diffusion models"),
        (["--set", "phases.1.objective.beta=1"], "unknown key"),
        (["--limit", "0"], "at least one image"),
        (["--steps", "1001"], "steps must be between 1 and 1000"),
        (["--device", "tpu"], "--device is auto or cpu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str], reason: str, common: list[str], tmp_path: Path
) -> None:
    assert reason in failure(*common, "--output", str(tmp_path / "out"), *arguments)
