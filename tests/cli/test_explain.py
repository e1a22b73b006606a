import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emodc.cli.app import app

HAPPY = str(Path(__file__).parents[2] / "samples" / "happiness.jpg")


def run(folder: Path, *words: str) -> list[str]:
    return ["explain", HAPPY, "--model", str(folder), "--no-detect", "--steps", "8", *words]


def test_the_figure_is_written_and_the_parts_are_printed(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra figures")
    monkeypatch.chdir(tmp_path)
    words = run(tiny_folder, "--class", "happy", "--against", "neutral")
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "happiness-explained.png").read_bytes().startswith(b"\x89PNG")
    assert "evidence for happiness against neutral" in shown.stdout
    assert "mouth and chin" in shown.stdout
    assert "the explanation is happiness-explained.png" in shown.stderr


def test_json_holds_the_map_and_writes_nothing_unless_asked(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, run(tiny_folder, "--json"))
    read = json.loads(shown.stdout)
    assert sum(map(sum, read["map"])) == pytest.approx(read["difference"], abs=1e-5)
    assert not list(tmp_path.iterdir())
    written = CliRunner().invoke(app, run(tiny_folder, "--json", "--output", "e.json"))
    assert written.exit_code == 0
    assert json.loads((tmp_path / "e.json").read_text()) == read


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "e.txt"], "e.txt: give a file name that ends with"),
        (["--output", "gone/e.png"], "there is no folder gone"),
        (["--model", "baseline-cnn", "--json"], "is a discriminative classifier"),
        (["--class", "joyful", "--json"], "unknown class 'joyful'"),
        (["--face", "2", "--json"], "there is no face 2"),
    ],
)
def test_mistakes_are_one_line(tiny_folder: Path, words: list[str], message: str) -> None:
    refused = CliRunner().invoke(app, run(tiny_folder, *words))
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1
