import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from emodc.cli import app
from emodc.data import Release, open_data, open_release
from emodc.data.prepare import prepare
from emodc.faces import ARCFACE_GEOMETRY
from emodc.labels import BASIC7

SAMPLES = Path(__file__).parents[2] / "samples"
DRAWN = open_release("synthetic:count=70,size=64")


def release(**changes: Any) -> Release:
    """Seventy drawn faces to train on and twenty to test on, with two awkward ids."""
    pictures = [DRAWN.split("train").image(i) for i in range(70)]
    pictures += [DRAWN.split("test").image(i) for i in range(20)]
    fields: dict[str, Any] = {
        "name": "made",
        "label_set": BASIC7,
        "ids": ["a/../b c.png", "é.png", *(f"p/{i}.png" for i in range(88))],
        "splits": np.array([0] * 70 + [2] * 20, dtype=np.int8),
        "labels": np.concatenate([DRAWN.split("train").labels, DRAWN.split("test").labels[:20]]),
        "reader": lambda index: pictures[index],
        "stamp": lambda index: "1",
        "terms": "ask us",
        "attributes": {"age": ["old"] * 45 + [""] * 45},
    }
    return Release(**(fields | changes))


def content(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "journal.jsonl"
    }


def test_crops_and_list_open_as_a_data_set(tmp_path: Path) -> None:
    manifest = prepare(release(), tmp_path / "out", size=32, geometry=None)
    assert manifest["written"] == {"train": 63, "validation": 7, "test": 20}
    data = open_data(f"csv:{tmp_path / 'out' / 'data.csv'}", "test")
    assert data.label_set == BASIC7
    assert data.labels.tolist() == release().labels[70:].tolist()
    assert data.image(0).shape == (32, 32, 3)
    assert data.terms == "ask us"
    train = open_data(f"csv:{tmp_path / 'out' / 'data.csv'}", "train")
    assert set(train.attributes["age"]) == {"old", ""}
    assert all(".." not in name for name in train.ids)


def test_an_interrupted_preparation_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    prepare(release(), whole, size=32, geometry=None)
    reads: list[int] = []

    def failing(done: int, total: int) -> None:
        reads.append(done)
        if total == 90 and len(reads) > 40:  # some way into the writing
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(release(), broken, size=32, geometry=None, progress=failing)
    finished = content(broken)
    assert 0 < len(finished) < len(content(whole))
    (broken / "journal.jsonl").open("a").write("images/half a li")  # as a killed process leaves it
    victim = broken / next(iter(finished))
    victim.write_bytes(b"damaged")
    prepare(release(), broken, size=32, geometry=None)
    assert content(broken) == content(whole)


def test_other_data_settings_or_contents_are_refused(tmp_path: Path) -> None:
    prepare(release(), tmp_path / "out", size=32, geometry=None)
    for changed, size in ((release(), 48), (release(stamp=lambda index: "2"), 32)):
        with pytest.raises(ValueError, match="other data or with other settings"):
            prepare(changed, tmp_path / "out", geometry=None, size=size)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something else"):
        prepare(release(), tmp_path / "mine", geometry=None)
    with pytest.raises(ValueError, match="unknown geometry 'oval': accepted are arcface, fer2013"):
        prepare(release(), tmp_path / "new", geometry="oval")


def test_copies_are_neither_trained_on_nor_parted(tmp_path: Path) -> None:
    base = release()
    test_copy, twins = base.reader(75), base.reader(3)

    def read(index: int) -> NDArray[np.uint8]:
        if index == 10:
            return test_copy
        return twins if 20 <= index < 30 else base.reader(index)

    labels = base.labels.copy()
    labels[20:30] = labels[3]
    prepared = release(reader=read, labels=labels)
    manifest = prepare(prepared, tmp_path / "out", size=32, geometry=None)
    assert manifest["left_out"] == 1
    places = {
        name.split("/")[1]
        for name in manifest["files"]
        if int(Path(name).name[:7]) in {3, *range(20, 30)}
    }
    assert len(places) == 1


def test_faces_are_aligned_and_pictures_without_one_are_listed(tmp_path: Path) -> None:
    face = np.asarray(Image.open(SAMPLES / "astronaut.jpg").convert("RGB"))
    pictures = [face, np.zeros((60, 60), np.uint8), face[:, ::-1].copy()]
    made = Release(
        name="made",
        label_set=BASIC7,
        ids=["a", "b", "c"],
        splits=np.full(3, 2, dtype=np.int8),
        labels=np.array([0, 1, 2]),
        reader=lambda index: pictures[index],
        stamp=str,
    )
    manifest = prepare(made, tmp_path, size=64)
    assert manifest["failed"] == 1
    assert manifest["written"]["test"] == 2
    assert (tmp_path / "failures.csv").read_text() == "id,reason\nb,no face found\n"
    data = open_data(f"csv:{tmp_path / 'data.csv'}", "test")
    assert data.geometry == ARCFACE_GEOMETRY
    upright, mirrored = (data.image(i).astype(float) for i in range(2))
    correlation = np.corrcoef(upright.ravel(), mirrored[:, ::-1].ravel())[0, 1]
    assert correlation > 0.9


def test_from_the_command_line(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    spec = "synthetic:count=14"
    arguments = ["data", "prepare", spec, "--output", out, "--no-detect", "--size", "32"]
    answer = CliRunner().invoke(app, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["written"] == {"train": 14, "validation": 14, "test": 14}
    assert "csv:" in answer.stderr
    again = CliRunner().invoke(app, [*arguments[:-1], "48"])
    assert again.exit_code == 2
    assert "choose another --output" in again.stderr
