from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emodc.cli.app import app


def run(*arguments: str | Path) -> tuple[int, str, str]:
    answer = CliRunner().invoke(app, ["data", *map(str, arguments)])
    assert answer.exception is None or isinstance(answer.exception, SystemExit)
    return answer.exit_code, answer.stdout, answer.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of noise in each class, and a file that is none."""
    rng = np.random.default_rng(0)
    for name in ("[bold]", "happy"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (20, 30 + number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / name / f"{number}.png")
    (tmp_path / "faces" / "classes.json").write_text('{"[bold]": "[bold]", "happy": "happy"}')
    (tmp_path / "faces" / "happy" / "[red]9.png").write_text("none")
    return tmp_path / "faces"


def test_the_table_of_a_check_names_classes_sizes_and_every_bad_image(folder: Path) -> None:
    code, shown, errors = run("check", f"folder:{folder}")
    assert code == 1
    assert "[bold]" in shown
    assert "width: 30 to 31 pixels" in shown
    assert "30x20 (2), 31x20 (2)" in shown
    assert "happy/[red]9.png: " in shown
    assert "not an image in a supported format" in shown
    assert shown.rstrip().endswith("problems found")
    assert errors == "emodc: error: folder: 1 image is missing or unreadable\n"


def test_what_cannot_be_opened_is_told_once_and_alone(tmp_path: Path) -> None:
    code, shown, errors = run("check", f"folder:{tmp_path / 'missing'}")
    assert (code, shown) == (1, "")
    assert len(errors.splitlines()) == 1
    code, shown, errors = run("check", "folder")
    assert (code, shown) == (2, "")
    assert "needs a path: folder:PATH" in errors


def test_a_sheet_that_cannot_be_written_is_told_before_the_images_are_read(
    folder: Path, tmp_path: Path
) -> None:
    code, shown, errors = run(
        "check", f"folder:{folder}", "--contact-sheet", tmp_path / "no" / "sheet.png"
    )
    assert (code, shown) == (2, "")
    assert "sheet.png: No such file or directory" in errors


def test_a_preparation_with_failures_exits_with_1_and_names_the_file(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("prepare", f"folder:{folder}", "--output", out, "--no-detect", "--splits", "test")
    code, shown, errors = run(*arguments)
    assert (code, shown) == (1, "")
    assert f"emodc: 4 crops in {out}" in errors
    assert f"1 image failed; {out / 'failures.csv'} names it" in errors
    assert run("check", f"csv:{out / 'data.csv'}")[0] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--splits", "train"), "there is no train split"),
        (("--splits", "test,holdout"), "unknown split 'holdout'"),
        (("--margin", "0.1"), "a margin is around a face"),
        (("--size", "8"), "--size"),
    ],
)
def test_wrong_options_write_nothing(
    options: tuple[str, ...], says: str, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, _, errors = run("prepare", f"folder:{folder}", "--output", out, "--no-detect", *options)
    assert code == 2
    assert says in errors
    assert not out.exists()
