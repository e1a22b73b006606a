import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emodc.cli.outputs import is_video
from emodc.faces import camera
from emodc.faces.frames import Frame, Selection
from emodc.faces.video import VideoFile
from emodc.inference import video
from emodc.labels import BASIC7
from tests.cli.test_app import Answer, failure
from tests.clips import face, plain_frames, write_clip, write_sound

TIMES = [0.0, 0.04, 0.08, 0.16, 0.2, 0.3, 0.34, 0.4, 0.5, 0.55]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs side by side, one of which moves."""
    frames = []
    for number in range(len(TIMES)):
        canvas = np.full((112, 240, 3), 120, np.uint8)
        canvas[8:104, 4 + 2 * number : 100 + 2 * number] = face("happiness", 96)
        canvas[8:104, 136:232] = face("surprise", 96)
        frames.append(canvas)
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames, TIMES)


@pytest.fixture(scope="module")
def written(clip: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that can be written of the clip."""
    folder = tmp_path_factory.mktemp("written")
    names = ["csv", "json", "parquet", "vtt"]
    asked = [word for name in names for word in (f"--{name}", str(folder / f"faces.{name}"))]
    asked += ["--overlay", str(folder / "out.mp4"), "--timeline", str(folder / "line.svg")]
    answer = Answer("predict", clip, *asked, "--model", tiny_folder, "--steps", "1")
    assert (answer.code, answer.out) == (0, "")
    assert "2 persons in 10 frames" in answer.err
    return folder


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_video_becomes_a_tidy_table(written: Path) -> None:
    rows = table((written / "faces.csv").read_text())
    assert [(row["frame"], row["person"]) for row in rows] == [
        (str(n), p) for n in range(10) for p in "12"
    ]
    np.testing.assert_allclose([float(row["time"]) for row in rows[::2]], TIMES, atol=1e-3)
    for row in rows:
        assert (row["status"], row["draws"]) == ("ok", "1")
        assert sum(float(row[name]) for name in BASIC7.classes) == pytest.approx(1, abs=1e-5)
        assert float(row["x0"]) < float(row["nose_x"]) < float(row["x1"])
    assert {row["detection_score"] != "" for row in rows} == {True, False}


def test_csv_json_and_parquet_say_the_same(written: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra tables")
    rows = table((written / "faces.csv").read_text())
    objects = json.loads((written / "faces.json").read_text())
    records = parquet.read_table(written / "faces.parquet").to_pylist()
    assert list(rows[0]) == list(records[0])
    for row, thing, record in zip(rows, objects, records, strict=True):
        assert float(row["time"]) == pytest.approx(thing["time"], abs=1e-6)
        assert row["label"] == thing["label"] == record["label"]
        assert thing["box"][0] == record["x0"] == pytest.approx(float(row["x0"]), abs=1e-6)
        assert thing["landmarks"][2] == [record["nose_x"], record["nose_y"]]


def test_subtitles_timeline_and_overlay(written: Path) -> None:
    text = (written / "faces.vtt").read_text()
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert "<v person 1>" in text
    assert "<v person 2>" in text
    assert "<path" in (written / "line.svg").read_text()
    frames = list(VideoFile(written / "out.mp4").frames(Selection()))
    np.testing.assert_allclose([frame.time for frame in frames], TIMES, atol=1e-3)
    assert frames[0].image.shape == (112, 240, 3)


def test_nothing_else_is_left(written: Path) -> None:
    names = {path.name for path in written.iterdir()}
    assert names == {
        *("faces.csv", "faces.json", "faces.parquet", "faces.vtt", "out.mp4", "line.svg")
    }


def test_a_video_is_printed(clip: Path, tiny_folder: Path) -> None:
    common = ("predict", clip, "--model", tiny_folder, "--steps", "1", "--every", "5")
    rows = table(Answer(*common, "--csv").out)
    assert [row["frame"] for row in rows] == ["0", "0", "5", "5"]
    assert [thing["frame"] for thing in json.loads(Answer(*common, "--json").out)] == [0, 0, 5, 5]
    answer = Answer(*common, "--start", "0:00.2", "--end", "0.4")
    assert "2 persons in 1 frames" in answer.out


def test_an_interrupted_video_goes_on(
    clip: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path
) -> None:
    monkeypatch.setattr(video, "_BATCH", 4)
    model = ("--model", tiny_folder, "--steps", "1")
    asked = ("predict", clip, "--csv", tmp_path / "faces.csv", *model)
    whole = Answer(*asked)
    assert whole.code == 0
    expected = (tmp_path / "faces.csv").read_text()
    (tmp_path / "faces.csv").unlink()
    rows = video.VideoAnalysis._rows
    calls = []

    def interrupted(*given: object) -> object:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rows(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(video.VideoAnalysis, "_rows", interrupted)
        answer = Answer(*asked)
    assert answer.code == 130
    assert "the same command goes on" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv.rows"]
    other = Answer(*asked, "--seed", "1")
    assert (other.code, "begun with another seed" in other.err) == (2, True)
    answer = Answer(*asked)
    assert "going on at 0.2 s" in answer.err
    assert len(calls) == 3
    found, wanted = table((tmp_path / "faces.csv").read_text()), table(expected)
    assert [(r["frame"], r["person"], r["x0"]) for r in found] == [
        (r["frame"], r["person"], r["x0"]) for r in wanted
    ]


def test_a_camera_is_watched_until_interrupted(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: tuple[str, str, dict[str, str]] = ("testsrc=size=64x48:rate=30", "lavfi", {})
    monkeypatch.setattr(camera, "camera_device", lambda number: source)
    common = ("predict", "--webcam", "--model", tiny_folder)
    rows = table(Answer(*common, "--csv", "--end", "0.3", "--fps", "10").out)
    assert [row["status"] for row in rows] == ["no_face"] * 3
    look = video.VideoAnalysis._look

    def interrupted(self: video.VideoAnalysis, frame: Frame) -> object:
        if frame.index == 4:
            raise KeyboardInterrupt
        return look(self, frame)

    monkeypatch.setattr(video.VideoAnalysis, "_look", interrupted)
    answer = Answer(*common, "--csv", tmp_path / "a.csv")
    assert answer.code == 0
    assert len(table((tmp_path / "a.csv").read_text())) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["CLIP", "OTHER"], "one video and nothing else"),
        (["CLIP", "--no-detect"], "are for images"),
        (["CLIP", "--csv", "--json"], "--json or --csv"),
        (["CLIP", "--csv", "none/faces.csv"], "there is no folder"),
        (["CLIP", "--overlay", "CLIP"], "is the video itself"),
        (["CLIP", "--overlay", "out"], "must end with .mp4"),
        (["CLIP", "--timeline", "a.gif"], "must end with .svg"),
        (["CLIP", "--parquet", "a.csv"], "must end with .parquet"),
        (["CLIP", "--start", "1:2:3:4"], "is no time"),
        (["CLIP", "--start", "5", "--end", "4"], "after start"),
        (["CLIP", "--steps", "0"], "draws for a frame"),
        (["CLIP", "--webcam"], "not both"),
        (["--webcam", "0", "--overlay", "a.mp4"], "cannot be opened"),
        (["a.jpg", "--vtt", "a.vtt"], "are for videos"),
        (["SOUND"], "sound alone"),
        (["gone.mp4"], "no such file"),
        (["EMPTY"], "0 bytes"),
        (["TEXT"], "not a video"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str],
    reason: str,
    clip: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    missing: tuple[str, str, dict[str, str]] = ("/dev/video987", "v4l2", {})
    monkeypatch.setattr(camera, "camera_device", lambda number: missing)
    (tmp_path / "empty.mkv").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no film")
    files = {"CLIP": clip, "OTHER": clip, "EMPTY": tmp_path / "empty.mkv"}
    files |= {"TEXT": tmp_path / "text.mp4", "SOUND": write_sound(tmp_path / "a.m4a")}
    given = [str(files.get(word, word)) for word in arguments]
    assert reason in failure("predict", *given, "--model", tiny_folder)


def test_videos_are_known_by_name_or_content(clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "nameless")
    write_clip(tmp_path / "b.mkv", plain_frames(2), [0, 0.1]).rename(tmp_path / "b")
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    (tmp_path / "d.mp4").mkdir()
    assert is_video(str(tmp_path / "nameless"))
    assert is_video(str(tmp_path / "b"))
    assert is_video("gone.MOV")
    for other in ("c.png", "d.mp4", "*.mp4", "gone.jpg"):
        assert not is_video(str(tmp_path / other))


def test_images_are_marked_and_tabulated(tiny_folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra tables")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(face("happiness", 96)).save(tmp_path / folder / "x.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "b" / "y.png")
    (tmp_path / "b" / "z.png").write_text("no image")
    out = tmp_path / "out"
    answer = Answer(
        *("predict", tmp_path / "a", tmp_path / "b", "--overlay", out, "--model", tiny_folder),
        *("--parquet", tmp_path / "f.parquet", "--csv", tmp_path / "f.csv", "--steps", "1"),
    )
    assert (answer.code, answer.out) == (1, "")
    assert sorted(path.name for path in out.iterdir()) == ["x-2.jpg", "x.jpg", "y.jpg"]
    with Image.open(out / "x.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - face("happiness", 96)).max() > 100
    rows = parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok", "no_face", "unreadable"]
    assert [row["file"] for row in rows] == [
        row["file"] for row in table((tmp_path / "f.csv").read_text())
    ]


@pytest.mark.slow
def test_a_killed_process_loses_little(clip: Path, tiny_folder: Path, tmp_path: Path) -> None:
    frames = [frame.image for frame in VideoFile(clip).frames(Selection())] * 30
    long = write_clip(tmp_path / "long.mp4", frames, [n / 25 for n in range(len(frames))])
    command = [sys.executable, "-m", "emodc", "predict", str(long), "--model", str(tiny_folder)]
    command += ["--csv", str(tmp_path / "a.csv")]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    rows = tmp_path / "a.csv.rows"
    while not rows.exists() or rows.stat().st_size < 20_000:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    answer = Answer(*command[3:])
    assert "going on at" in answer.err
    assert [row["frame"] for row in table((tmp_path / "a.csv").read_text())][::2] == [
        str(n) for n in range(len(frames))
    ]
