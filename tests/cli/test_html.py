"""Every report as a page, in a browser."""

import shutil
from pathlib import Path

import pytest

from emodc.training.recipe import dump_recipe
from tests.browser import open_page
from tests.cli.test_app import Answer, failure
from tests.experiments.study.conftest import tiny

SAMPLES = Path(__file__).parents[2] / "samples"
DATA = "synthetic:count=14,size=16"


def opened(page: Path, folder: Path) -> str:
    found = open_page(page, folder)
    assert found.console == []
    assert found.requests == []
    assert 'class="answer"' in found.dom
    return found.dom


def test_the_page_of_an_evaluation(tiny_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "e.html"
    words = ("evaluate", "--model", tiny_folder, "--data", DATA, "--steps", "8", "--html", page)
    answer = Answer(*words)
    assert answer.code == 0, answer.err
    text = page.read_text()
    assert "tiny reads" in text
    assert f"--data {DATA}" in text  # the command
    assert text.count('alt="evidence"') == text.count('alt="face"') > 3  # maps of its mistakes
    opened(page, tmp_path)


def test_the_page_of_a_baseline_has_no_maps(tmp_path: Path) -> None:
    page = tmp_path / "e.html"
    Answer("evaluate", "--model", "baseline-cnn", "--data", "synthetic:count=14", "--html", page)
    assert 'alt="face"' in page.read_text()
    assert 'alt="evidence"' not in page.read_text()


def test_the_page_of_predictions_keeps_names_as_text(tiny_folder: Path, tmp_path: Path) -> None:
    nasty = tmp_path / "<b onclick=alert(1)>&.jpg"
    shutil.copy(SAMPLES / "happiness.jpg", nasty)
    (tmp_path / "none.jpg").write_text("no image")
    page = tmp_path / "p.html"
    words = ("predict", nasty, tmp_path / "none.jpg", "--model", tiny_folder, "--steps", "1")
    answer = Answer(*words, "--no-detect", "--html", page)
    assert answer.code == 1  # one image cannot be read, and has its row
    dom = opened(page, tmp_path)
    assert "1 face in 2 images" in dom
    assert "&lt;b onclick=alert(1)&gt;&amp;.jpg" in dom
    assert "<b onclick" not in dom
    assert "not an image" in dom


@pytest.mark.parametrize("command", ["evaluate", "predict", "robustness", "analyze", "study"])
def test_another_ending_is_refused_before_the_work(
    command: str, tiny_folder: Path, tmp_path: Path
) -> None:
    words = [str(SAMPLES)] if command == "predict" else ["--data", DATA]
    if command != "study":
        words += ["--model", str(tiny_folder)]
    if command in ("robustness", "analyze", "study"):
        words += ["--output", str(tmp_path / "out")]
    message = failure(command, *words, "--html", tmp_path / "page.pdf")
    assert "give a file name that ends with .html" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_pages_of_the_experiments(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny(soft_labels=True)))
    model = ("--model", tiny_folder, "--data", DATA, "--steps", "2")
    attacked = ("--attack", "pgd", "--suite", "noise-blur", "--eps", "2/255", "--checked", "0")
    few = ("--severities", "5", "--limit", "7", "--iterations", "1", "--eot", "1")
    trained = ("--data", DATA, "--recipe", recipe, "--steps", "2", "--quick", "--limit", "7")
    commands = {"robustness": (*model, *attacked, *few), "analyze": model, "study": trained}
    for command, words in commands.items():
        page = tmp_path / f"{command}.html"
        answer = Answer(command, *words, "--output", tmp_path / command, "--html", page)
        assert answer.code == 0, answer.err
        dom = opened(page, tmp_path)
        assert dom.count("<svg") >= 2
        assert 'class="sortable"' in dom
        assert f"emodc {command}" in dom
