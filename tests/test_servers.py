"""The examples of docs/servers.md do what the page says."""

import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emodc.inference.classifier import EmotionClassifier
from tests.test_docs import CODE, ROOT

pytest.importorskip("cv2")

EXAMPLES = {
    found.group(1): code
    for language, code in CODE.findall((ROOT / "docs" / "servers.md").read_text(encoding="utf-8"))
    if (found := re.match(r"# ([\w.]+\.py)\n", code)) and language == "python"
}
RUN = ["threads.py", "labeling.py", "reading.py", "processes.py"]
SERVED = {"server.py", "wsgi.py", "gunicorn.conf.py"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples, and two photos: one of a face, one of a wall."""
    for name, code in EXAMPLES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    photos = tmp_path / "photos"
    photos.mkdir()
    with Image.open(ROOT / "samples" / "happiness.jpg") as image:
        image.convert("RGB").resize((128, 128)).save(photos / "face.png")
    Image.new("RGB", (64, 64)).save(photos / "wall.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def label(folder: Path) -> str:
    """What this process answers for the face."""
    classifier = EmotionClassifier.from_pretrained("face48", device="cpu")
    return str(classifier.predict(folder / "photos" / "face.png")[0].label)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "2"}


def test_no_example_is_left_out() -> None:
    assert set(EXAMPLES) == {*RUN, *SERVED}


@pytest.mark.parametrize(
    "name", [RUN[0], RUN[1], *(pytest.param(name, marks=pytest.mark.slow) for name in RUN[2:])]
)
def test_an_example_labels_the_photos(
    name: str, label: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if name == "processes.py":  # what is spawned must find a main module
        subprocess.run([sys.executable, name], env=environment(), timeout=180, check=True)
    else:
        runpy.run_path(name, run_name="__main__")
    said = capfd.readouterr().out.splitlines()
    assert len(said) == 2
    assert label in said[0]
    assert "no face found" in said[1]


def test_the_fastapi_server_answers(folder: Path, label: str) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    client = TestClient(runpy.run_path("server.py")["app"])
    for name, expected in (("face.png", label), ("wall.png", None)):
        content = (folder / "photos" / name).read_bytes()
        answer = client.post("/predict", content=content, headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
        (row,) = answer.json()
        assert row["label"] == expected
    (row,) = client.post("/predict", content=b"none", headers={"Content-Type": "image/png"}).json()
    assert row["status"] == "unreadable"


def test_the_wsgi_server_answers(folder: Path, label: str) -> None:
    with (folder / "photos" / "face.png").open("rb") as photo:
        told: list[Any] = []
        size = str((folder / "photos" / "face.png").stat().st_size)
        app = runpy.run_path("wsgi.py")["app"]
        body = app({"wsgi.input": photo, "CONTENT_LENGTH": size}, lambda *said: told.append(said))
    assert told[0][0] == "200 OK"
    assert json.loads(b"".join(body))[0]["label"] == label


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False], ids=["one-thread", "not-told"])
def test_gunicorn_answers_after_its_forks(told: bool, folder: Path, label: str) -> None:
    pytest.importorskip("gunicorn")
    settings = folder / "gunicorn.conf.py"
    if not told:
        settings.write_text(settings.read_text().replace("torch.set_num_threads(1)", "pass"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}"]
    log = folder / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment(), stderr=output)
    try:
        status, body = answered(f"http://127.0.0.1:{port}/", folder / "photos" / "face.png")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    if told:
        assert (status, json.loads(body)[0]["label"]) == (200, label)
    else:
        assert status == 500
        assert "RuntimeError: this process was forked after" in log.read_text()


def answered(address: str, photo: Path) -> tuple[int, bytes]:
    """Return the server's answer once it has started."""
    request = urllib.request.Request(address, photo.read_bytes(), method="POST")
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
            time.sleep(1)
