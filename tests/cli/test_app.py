import csv
import inspect
import io
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.cli.predict import predict
from emodc.evaluation.evaluate import EVALUATION_STEPS
from emodc.inference.classifier import DEFAULT_MODEL
from emodc.inference.scorer import DEFAULT_DELTA, DEFAULT_STEPS
from emodc.inference.temporal import DRAWS, HALF_LIFE
from emodc.inference.tracking import DETECT_EVERY
from emodc.labels import BASIC7
from emodc.training.recipe import parse_recipe

SAMPLES = Path(__file__).parents[2] / "samples"
NOISE: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)


class Answer:
    """What a command printed, and its exit code."""

    def __init__(self, *arguments: str | Path) -> None:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("emodc: error: ")]


def failure(*arguments: str | Path) -> str:
    """Run a command that must print nothing but one line on stderr, and exit with 2."""
    answer = Answer(*arguments)
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    return line.removeprefix("emodc: error: ")


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    for number in range(3):
        Image.fromarray(np.roll(NOISE[:, :, :3], number, axis=0)).save(folder / f"{number}.png")
    return folder


def too_large(path: Path) -> None:
    """Write a PNG header that promises 10001 x 10000 pixels, and no pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return len(body).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")

    size = (10_001).to_bytes(4, "big") + (10_000).to_bytes(4, "big")
    header = chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0]))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def truncated(path: Path) -> None:
    Image.fromarray(NOISE[:, :, :3]).resize((300, 300)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def missing(path: Path) -> None:
    path.unlink(missing_ok=True)


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncated, "damaged or incomplete"),
    "zero bytes": (lambda path: path.write_bytes(b""), "0 bytes"),
    "text": (lambda path: path.write_text("I am an image"), "not an image"),
    "too large": (too_large, "more than 100 megapixels"),
    "missing": (missing, "no such file"),
}

# EXIF that says: turn by a quarter (orientation 6).
TURNED = "45786966 0000 4d4d002a00000008 0001 0112 0003 00000001 00060000 00000000"

READABLE: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "a.tiff": (Image.fromarray(NOISE).convert("CMYK"), {}),
    "b.png": (Image.fromarray(NOISE[:, :, 0].astype(np.uint16) * 257), {}),
    "c.png": (Image.fromarray(NOISE), {}),
    "d.gif": (
        Image.fromarray(NOISE[:, :, 0]),
        {"save_all": True, "append_images": [Image.fromarray(NOISE[:, :, 1])]},
    ),
    "e.jpg": (Image.fromarray(NOISE[:8, :, :3]), {"exif": bytes.fromhex(TURNED)}),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_bad_image_alone_is_one_line(kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    write, reason = UNREADABLE[kind]
    path = tmp_path / "a.jpg"
    write(path)
    line = failure("predict", path, "--model", tiny_folder)
    assert line.startswith(str(path))
    assert reason in line


def test_bad_images_among_good_ones_get_their_rows(
    tiny_folder: Path, crops: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(crops, tmp_path / "mixed"))
    for kind, (write, _) in UNREADABLE.items():
        write(folder / f"x {kind}.jpg")
    answer = Answer(
        "predict", folder, folder / "x missing.jpg", "--model", tiny_folder, "--no-detect", "--json"
    )
    rows = json.loads(answer.out)
    assert answer.code == 1
    assert len(answer.errors) == len(UNREADABLE)
    assert [row["status"] for row in rows] == ["ok"] * 3 + ["unreadable"] * len(UNREADABLE)
    for row in rows[3:]:
        kind = Path(row["file"]).stem.removeprefix("x ")
        assert UNREADABLE[kind][1] in row["error"]
        assert row["label"] is row["probabilities"] is row["box"] is None


def test_a_good_image_beside_a_name_of_300_letters_is_answered(
    tiny_folder: Path, crops: Path
) -> None:
    names = (crops / "0.png", f"{'a' * 300}.png", crops / "1.png")
    answer = Answer("predict", *names, "--model", tiny_folder, "--no-detect", "--json")
    assert answer.code == 1
    assert [row["status"] for row in json.loads(answer.out)] == ["ok", "unreadable", "ok"]
    (line,) = answer.errors
    assert "too long for a file name" in line


def test_images_of_every_make_are_read(tiny_folder: Path, tmp_path: Path) -> None:
    for name, (image, options) in READABLE.items():
        image.save(tmp_path / name, **options)
    answer = Answer("predict", tmp_path, "--no-detect", "--json", "--model", tiny_folder)
    rows = json.loads(answer.out)
    assert answer.code == 0
    assert not answer.err
    assert {Path(row["file"]).name: row["status"] for row in rows} == dict.fromkeys(READABLE, "ok")
    assert rows[-1]["box"] == [0, 0, 8, 16]  # 16 wide and 8 high as stored, but lying on its side


def test_json_csv_and_table_say_the_same(tiny_folder: Path, crops: Path) -> None:
    common = ("predict", crops, "--no-detect", "--steps", "3", "--model", tiny_folder)
    rows = json.loads(Answer(*common, "--json").out)
    assert list(rows[0]["probabilities"]) == list(BASIC7.classes)
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1)
    assert rows[0]["box"] == [0, 0, 16, 16]
    lines = list(csv.DictReader(io.StringIO(Answer(*common, "--csv").out)))
    table = Answer(*common).out
    for row, line in zip(rows, lines, strict=True):
        assert (row["file"], row["label"]) == (line["file"], line["label"])
        assert (line["face"], line["status"], line["error"]) == ("0", "ok", "")
        assert [float(line[name]) for name in ("x0", "y0", "x1", "y1")] == row["box"]
        for name, p in row["probabilities"].items():
            assert float(line[name]) == pytest.approx(p, abs=1e-6)
        (shown,) = (text for text in table.splitlines() if row["file"] in text)
        assert row["label"] in shown
        assert f"{row['probabilities'][row['label']]:.3f}" in shown


def test_the_same_seed_gives_the_same_answer(tiny_folder: Path, crops: Path) -> None:
    def out(seed: int) -> str:
        common = ("predict", crops, "--no-detect", "--json", "--steps", "2", "--model", tiny_folder)
        return Answer(*common, "--seed", str(seed)).out

    assert out(1) == out(1) != out(2)


def test_no_face_is_said(tiny_folder: Path, crops: Path) -> None:
    answer = Answer("predict", crops / "0.png", "--model", tiny_folder)
    assert answer.code == 0
    assert "no face found" in answer.out
    assert "--no-detect" in answer.err


EVALUATE = ["evaluate", "--data", "synthetic:count=7,size=16", "--model", "TINY"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["predict", "a.jpg", "--json", "--csv"], "--json or --csv"),
        (["predict", "EMPTY"], "no images in this folder"),
        (["predict", "EMPTY/*.jpg"], "no file matches"),
        (["predict", "a.jpg", "--model", "face4"], "no model 'face4'"),
        (["predict", "a.jpg", "--model", "EMPTY"], "emodc.json: missing"),
        (["predict", "a.jpg", "--model", "TINY", "--steps", "0"], "between 1 and 1000"),
        (["predict", "a.jpg", "--csv", "--model", "TINY", "--steps", "0"], "between 1 and 1000"),
        (["predict", "a.jpg", "--model", "TINY", "--device", "tpu"], "no device 'tpu'"),
        (["evaluate", "--data", "fer2012:/x", "--model", "TINY"], "unknown dataset 'fer2012'"),
        (["evaluate", "--data", "synthetic", "--split", "dev", "--model", "TINY"], "'dev'"),
        (["evaluate", "--data", "folder:EMPTY", "--model", "TINY"], "EMPTY"),
        ([*EVALUATE, "--budget", "5"], "give either a number of steps, or delta and budget"),
        ([*EVALUATE, "--steps", "5", "--budget", "5"], "not both"),
        ([*EVALUATE, "--steps", "100", "--adaptive"], "not both"),
        ([*EVALUATE, "--adaptive", "--budget", "0"], "at least one draw"),
        ([*EVALUATE, "--adaptive"], "run emodc calibrate"),
        (["train", "face4"], "unknown recipe 'face4'"),
        (["train", "none.yaml"], "none.yaml"),
        (["train", "face48", "--set", "optimizer.rate=1"], "unknown key 'optimizer.rate'"),
        (["train", "face48", "--set", "samples"], "dotted.path=value"),
        (["train", "face48", "--set", "samples=few"], "samples"),
        (["train", "face48"], "--data NAME:PATH"),
        (["train", "synthetic-tiny", "--device", "gpu"], "auto or cpu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str], reason: str, tiny_folder: Path, tmp_path: Path
) -> None:
    named = {"EMPTY": str(tmp_path), "TINY": str(tiny_folder)}
    for word, value in named.items():
        arguments = [argument.replace(word, value) for argument in arguments]
        reason = reason.replace(word, value)
    assert reason in failure(*arguments)


@pytest.mark.parametrize("name", ["emodc.json", "model.safetensors"])
def test_a_damaged_model_is_one_line(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    assert str(folder / name) in failure("predict", "a.jpg", "--model", folder)
    (folder / name).unlink()
    assert str(folder / name) in failure("predict", "a.jpg", "--model", folder)


@pytest.mark.parametrize(
    "arguments", [["predict"], ["predict", "a", "--steps", "few"], ["guess"], ["evaluate"]]
)
def test_usage_errors_point_to_the_help(arguments: list[str]) -> None:
    answer = Answer(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "--help" in answer.err


def test_an_interruption_is_said(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, crops: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emodc.inference.face_crops.read_source", interrupt)
    answer = Answer("predict", crops, "--model", tiny_folder, "--no-detect")
    assert (answer.code, answer.out, answer.err) == (130, "", "emodc: interrupted\n")


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, crops: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "[faces]" in failure("predict", crops, "--model", tiny_folder)
    assert Answer("predict", crops, "--model", tiny_folder, "--no-detect").code == 0


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    def bug(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("emodc.model.store.load_model", bug)
    with pytest.raises(TypeError, match="a bug"):
        Answer("evaluate", "--data", "synthetic:count=7", "--model", tiny_folder)


def test_evaluation_prints_its_report(tiny_folder: Path, tmp_path: Path) -> None:
    common = ["evaluate", "--data", "synthetic:count=21,size=16", "--model", str(tiny_folder)]
    common += ["--steps", "2", "--limit", "14", "--output", str(tmp_path)]
    report = json.loads(Answer(*common, "--json").out)
    assert report["n_images"] == 14
    assert report == json.loads((tmp_path / "report.json").read_text())
    table = Answer(*common)
    assert table.code == 0
    assert f"{report['accuracy']:.4f}" in table.out


def test_a_dry_run_prints_the_recipe_and_nothing_more(tmp_path: Path) -> None:
    import yaml

    answer = Answer(
        *("train", "face48", "--dry-run", "--set", "phases.0.objective.alpha=0.4"),
        *("--set", "samples=96", "--output", tmp_path / "run"),
    )
    recipe = parse_recipe(yaml.safe_load(answer.out), "printed")
    assert recipe.samples == 96
    assert recipe.phases[0].objective.alpha == 0.4  # type: ignore[union-attr]
    assert not (tmp_path / "run").exists()


def test_a_trained_model_predicts(tmp_path: Path, crops: Path) -> None:
    small = [
        "model.codec.size=16",
        "model.backbone.widths=[8,8,8,8]",
        "model.backbone.embedding=16",
    ]
    small += ["samples=32", "batch_size=8", "optimizer.warm_up=8"]
    small += ["validation={every: 16, images: 14, steps: 2}"]
    changes = [part for change in small for part in ("--set", change)]
    run = tmp_path / "run"
    answer = Answer(
        *("train", "synthetic-tiny", "--data", "synthetic:count=28,size=16", "--output", run),
        *("--device", "cpu", *changes),
    )
    assert (answer.code, answer.out) == (0, "")
    assert "validation_accuracy" in answer.err
    assert str(run) in answer.err
    rows = json.loads(Answer("predict", crops, "--no-detect", "--json", "--model", run).out)
    assert [row["status"] for row in rows] == ["ok"] * 3


def test_recipes_are_listed() -> None:
    answer = Answer("recipes")
    assert answer.code == 0
    assert any(line.split()[0] == "face48" for line in answer.out.splitlines())


def test_the_defaults_shown_are_those_of_the_library() -> None:
    assert inspect.signature(predict).parameters["model"].default == DEFAULT_MODEL
    told = {
        command: " ".join(Answer(command, "--help").out.split())  # wherever lines are broken
        for command in ("predict", "evaluate")
    }
    assert all(f"[default DELTA: {DEFAULT_DELTA:g}]" in text for text in told.values())
    assert f"else {DEFAULT_STEPS}]" in told["predict"]
    assert f"({DRAWS} if not given)" in told["predict"]
    assert f"faces are tracked. [{DETECT_EVERY}]" in told["predict"]
    assert f"frames on their own. [{HALF_LIFE:g}]" in told["predict"]
    assert f"[default: {EVALUATION_STEPS}, without" in told["evaluate"]


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_real_command_on_a_photograph_and_a_image_with_odd_metadata(
    tiny_folder: Path, tmp_path: Path
) -> None:
    photo, odd = SAMPLES / "astronaut.jpg", tmp_path / "odd.jpg"
    Image.fromarray(NOISE[:, :, :3]).save(odd, exif=bytes.fromhex(TURNED)[:20])
    common = ("--model", tiny_folder, "--steps", "2", "--json")
    done = python("-m", "emodc", "predict", photo, odd, *common)
    assert done.returncode == 0
    assert done.stderr.startswith("emodc: no face found in 1 of 2 images")
    assert done.stderr.count("\n") == 1
    row, without = json.loads(done.stdout)
    assert (row["file"], row["face"], row["status"]) == (str(photo), 0, "ok")
    assert (without["file"], without["face"], without["status"]) == (str(odd), None, "no_face")
    x0, y0, x1, y1 = row["box"]
    with Image.open(photo) as image:
        assert 0 <= x0 < x1 <= image.width
        assert 0 <= y0 < y1 <= image.height
    assert row["label"] in row["probabilities"]


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'rich', 'yaml', 'cv2', 'huggingface_hub'}"
    code = (
        "import sys, emodc\n"
        "from emodc.cli.app import app\n"
        "app(['--help'], standalone_mode=False)\n"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = python("-c", code)
    assert done.stderr.strip() == "[]"
    assert "predict" in done.stdout


def test_version() -> None:
    from emodc import __version__

    assert Answer("--version").out == f"emodc {__version__}\n"


@pytest.mark.parametrize("arguments", [["--adaptive"], ["--adaptive", "0.02"]])
def test_adaptive_alone_stands_for_its_default(arguments: list[str]) -> None:
    answer = Answer("predict", *arguments, SAMPLES / "happiness.jpg", "--json")
    assert answer.code == 0, answer.err
    assert answer.out == Answer("predict", SAMPLES / "happiness.jpg", "--json").out


def test_no_answer_may_change_is_refused() -> None:
    answer = Answer("predict", SAMPLES / "happiness.jpg", "--adaptive", "0")
    assert answer.code == 2
    assert "no stopping threshold for delta 0" in answer.err


def test_what_a_folder_holds_beside_images_is_told(tiny_folder: Path, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    for name in ("a.jpg", "b.avif", "c.jpe", "d.jp2"):
        image.save(tmp_path / name)
    (tmp_path / "a.jpg").rename(tmp_path / "without")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "Thumbs.db").write_text("no image")
    answer = Answer("predict", tmp_path, "--model", tiny_folder, "--no-detect", "--json")
    rows = json.loads(answer.out)
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["skipped"] * 2
    assert rows[-1]["error"].startswith("not an image") or "operating" in rows[-1]["error"]
    assert "notes.txt (not an image" in answer.err
    assert answer.code == 0


def test_a_good_image_is_answered_beside_names_that_are_none(
    tiny_folder: Path, tmp_path: Path
) -> None:
    good = tmp_path / "a.png"
    Image.new("RGB", (20, 20), "red").save(good)
    odd = ["x" * 300, "~nosuchuser/x.jpg", "?[", "https://example.org/a.jpg", "\x1b[2J.png"]
    options = ("--model", tiny_folder, "--no-detect", "--json")
    answer = Answer("predict", *odd, good, *options)
    assert [row["status"] for row in json.loads(answer.out)] == ["unreadable"] * 5 + ["ok"]
    assert answer.code == 1
    assert "\x1b" not in answer.err


def test_predict_takes_settings_of_the_detector(tiny_folder: Path) -> None:
    sample = SAMPLES / "astronaut.jpg"
    common = ("predict", sample, "--steps", "1", "--model", tiny_folder, "--json")
    (found,) = json.loads(Answer(*common, "--detector", "yunet", "--working-size", "320").out)
    assert found["status"] == "ok"
    (none,) = json.loads(Answer(*common, "--working-size", "256", "--smallest-face", "300").out)
    assert none["status"] == "no_face"
    sure = ("--working-size", "128", "--detection-threshold", "0.99")
    (none,) = json.loads(Answer(*common, *sure).out)
    assert none["status"] == "no_face"
    assert "give one of centerface, yunet" in failure(*common, "--detector", "mtcnn")
