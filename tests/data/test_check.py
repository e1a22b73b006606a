import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.data import Release, open_release
from emodc.data.check import check as check_release
from emodc.data.contact_sheet import contact_sheet
from emodc.data.face_data import OnDemand
from emodc.data.registry import dataset_names
from emodc.labels import BASIC7

DRAWN = open_release("synthetic:count=28")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder dataset of drawn faces: 28 images in train and in test."""
    root = tmp_path / "faces"
    for split in ("train", "test"):
        data = DRAWN.split(split)
        for i in range(len(data)):
            file = root / split / BASIC7.classes[data.labels[i]] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data.image(i)).save(file)
    return root


def check(spec: str | Path, *options: str) -> tuple[int, dict[str, Any], str]:
    answer = CliRunner().invoke(app, ["data", "check", f"folder:{spec}", "--json", *options])
    return answer.exit_code, json.loads(answer.stdout), answer.stderr


def kinds(report: dict[str, Any]) -> dict[str, str]:
    return {finding["kind"]: finding["severity"] for finding in report["findings"]}


def test_a_sound_dataset_passes(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    code, report, _ = check(folder, "--contact-sheet", str(sheet))
    assert code == 0
    assert report["ok"]
    assert report["splits"]["train"]["total"] == report["splits"]["test"]["total"] == 28
    assert report["splits"]["train"]["classes"]["fear"] == 4
    assert report["sizes"]["width"] == {"min": 48, "median": 48.0, "max": 48}
    assert Image.open(sheet).width > 600
    shown = CliRunner().invoke(app, ["data", "check", f"folder:{folder}"])
    assert shown.exit_code == 0
    assert "happiness" in shown.stdout


def test_a_damaged_file_is_named(folder: Path) -> None:
    bad = folder / "test" / "fear" / "bad.png"
    bad.write_bytes(b"no image")
    code, report, complaint = check(folder)
    assert code == 1
    assert kinds(report)["unreadable"] == "off"
    assert report["unreadable"][0]["id"] == "test/fear/bad.png"
    assert "1 image is missing or unreadable" in complaint


def test_a_test_image_in_train_is_off_also_when_it_was_saved_anew(folder: Path) -> None:
    first = next((folder / "test" / "fear").iterdir())
    Image.open(first).save(folder / "train" / "fear" / "other_encoding.bmp")
    code, report, complaint = check(folder)
    assert code == 1
    assert kinds(report)["test_in_train"] == "off"
    assert report["copies"]["across"]["test_in_train"]["images"] == 1
    assert "1 image of test is in train as well; delete them there" in complaint


def test_copies_inside_a_split_and_other_labels_are_notes(folder: Path) -> None:
    first = next((folder / "train" / "fear").iterdir())
    shutil.copy(first, folder / "train" / "anger" / "again.png")
    code, report, _ = check(folder)
    assert code == 0
    assert kinds(report) == {"copies_inside": "note", "different_labels": "note"}


def test_blank_stray_and_nearly_equal_images_are_notes(folder: Path) -> None:
    Image.new("L", (48, 48), 50).save(folder / "train" / "fear" / "blank.png")
    Image.new("L", (48, 48), 90).save(folder / "train" / "stray.png")
    first = next((folder / "test" / "anger").iterdir())
    Image.open(first).save(folder / "train" / "anger" / "near.jpg", quality=60)
    code, report, _ = check(folder)
    assert code == 0
    assert kinds(report) == {"blank": "note", "unlisted": "note", "near_copies": "note"}
    assert report["near_copies"]["across"]["test_in_train"] == 1


def test_what_the_loader_refuses_is_one_clear_line(tmp_path: Path) -> None:
    code, report, complaint = check(tmp_path / "missing")
    assert code == 1
    assert kinds(report) == {"unopened": "off"}
    assert "no such folder" in complaint
    assert len(complaint.strip().splitlines()) == 1
    unknown = CliRunner().invoke(app, ["data", "check", "faces:here"])
    assert unknown.exit_code == 2
    assert "unknown dataset 'faces'" in unknown.stderr


def test_published_counts_are_compared_and_known_copies_forgiven(tmp_path: Path) -> None:
    shades = np.random.default_rng(0).integers(0, 256, (4, 48 * 48))
    rows = [(0, "Training"), (1, "Training"), (2, "PublicTest"), (3, "PrivateTest")]
    rows += [(3, "Training")]  # the image of PrivateTest again
    lines = [f"3,{' '.join(map(str, shades[i]))},{usage}" for i, usage in rows]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]))
    spec = f"fer2013:{tmp_path}"
    plain = CliRunner().invoke(app, ["data", "check", spec, "--json"])
    report = json.loads(plain.stdout)
    assert plain.exit_code == 0
    assert kinds(report) == {"test_in_train_known": "note", "official_counts": "note"}
    assert report["splits"]["train"]["official"]["total"] == 28_709
    strict = CliRunner().invoke(app, ["data", "check", spec, "--json", "--official"])
    assert strict.exit_code == 1
    assert kinds(json.loads(strict.stdout))["official_counts"] == "off"


def test_the_sheet_shows_what_cannot_be_read(folder: Path) -> None:
    for file in (folder / "test" / "fear").iterdir():
        file.write_bytes(b"")
    page = np.asarray(contact_sheet(open_release(f"folder:{folder}")))
    red = (page == np.array([0xB0, 0, 0x20])).all(axis=2)
    assert red.any()


def test_list_names_every_dataset() -> None:
    shown = CliRunner().invoke(app, ["data", "list"])
    assert shown.exit_code == 0
    rows = json.loads(CliRunner().invoke(app, ["data", "list", "--json"]).stdout)
    assert [row["name"] for row in rows] == list(dataset_names())
    assert all(row["name"] in shown.stdout and row["summary"] for row in rows)
    classes = {row["name"]: row["classes"] for row in rows}
    assert (classes["rafdb"], classes["rafdb-compound"], classes["folder"]) == (7, 11, None)


def made(shades: list[int], splits: list[int], **changes: Any) -> Release:
    """Images of noise: equal numbers are equal images."""
    images = np.random.default_rng(0).integers(0, 256, (max(shades) + 1, 8, 8), dtype=np.uint8)
    fields: dict[str, Any] = {
        "name": "made",
        "label_set": BASIC7,
        "ids": [f"p{i}" for i in range(len(shades))],
        "splits": np.array(splits, dtype=np.int8),
        "labels": np.zeros(len(shades), dtype=np.int64),
        "reader": lambda index: images[shades[index]],
        "stamp": str,
    }
    return Release(**(fields | changes))


def test_copies_are_counted_where_they_are_and_where_they_carry_another_label() -> None:
    #        train         validation  test
    shades = [0, 0, 1, 2, 2, 3, 1, 4, 0, 4, 5]
    splits = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2]
    labels = [0, 0, 1, 2, 3, -1, 1, 0, 6, 0, -1]
    report = check_release(made(shades, splits, labels=np.array(labels)))
    inside = {split: list(counts.values()) for split, counts in report["copies"]["inside"].items()}
    assert inside == {"train": [2, 1], "validation": [0, 0], "test": [0, 0]}
    across = {name: list(counts.values()) for name, counts in report["copies"]["across"].items()}
    assert across == {
        "validation_in_train": [1, 0],
        "test_in_train": [1, 1],
        "test_in_validation": [1, 0],
    }
    found = {finding["kind"]: finding for finding in report["findings"]}
    assert found["test_in_train"]["examples"] == [["p8", "p0"]]
    assert found["test_in_validation"]["severity"] == "off"
    assert found["different_labels"]["count"] == 2
    assert found["unlabeled"]["examples"] == ["p5", "p10"]
    assert report["splits"]["train"]["total"] == 6


def test_copies_that_the_loader_leaves_out_are_known_but_others_are_not() -> None:
    marked = np.array([True, False, False])
    report = check_release(made([0, 1, 0], [0, 0, 2], copied=marked))
    assert report["ok"]
    assert kinds(report) == {"test_in_train_known": "note"}
    report = check_release(made([0, 0, 0], [0, 0, 2], copied=marked))
    assert kinds(report)["test_in_train"] == "off"


def test_without_a_readable_image_there_is_still_a_report() -> None:
    def read(index: int) -> NDArray[np.uint8]:
        raise ValueError(f"p{index}: no such file")

    report = check_release(made([0, 1], [0, 2], reader=read))
    assert kinds(report) == {"unreadable": "off"}
    assert report["unreadable"] == [
        {"id": "p0", "reason": "p0: no such file"},
        {"id": "p1", "reason": "p1: no such file"},
    ]
    assert report["sizes"] is None
    json.dumps(report, allow_nan=False)


def test_attributes_that_cannot_be_read_are_off() -> None:
    def value(index: int) -> str:
        if index == 1:
            raise ValueError("p1.txt, line 6: '9' is no code of gender")
        return "female"

    report = check_release(made([0, 1, 2], [0, 0, 2], attributes={"gender": OnDemand(3, value)}))
    (finding,) = report["findings"]
    assert (finding["kind"], finding["severity"], finding["count"]) == ("attributes", "off", 1)
    assert finding["examples"] == ["p1.txt, line 6: '9' is no code of gender"]


@pytest.mark.slow
@pytest.mark.skipif("EMODC_FER2013" not in os.environ, reason="EMODC_FER2013 names no folder")
def test_what_is_known_of_fer2013_is_found() -> None:
    report = check_release(open_release(f"fer2013plus:{os.environ['EMODC_FER2013']}"))
    assert report["ok"]
    found = {finding["kind"]: finding["count"] for finding in report["findings"]}
    assert found["test_in_train_known"] == 288
    assert found["validation_in_train"] == 280
    assert found["blank"] == 13
    assert report["copies"]["inside"]["train"]["images"] == 1237
    assert "official_counts" not in found


def test_what_is_skipped_is_told_in_the_table_and_in_json(folder: Path) -> None:
    for name in ("notes.txt", "Thumbs.db", "._a.png"):
        (folder / "train" / "neutral" / name).write_text("no image")
    code, report, _ = check(folder)
    assert code == 0
    assert {item["file"]: item["reason"] for item in report["skipped"]} == {
        "train/neutral/._a.png": "left by an operating system",
        "train/neutral/Thumbs.db": "left by an operating system",
        "train/neutral/notes.txt": "not an image in a supported format",
    }
    (found,) = (item for item in report["findings"] if item["kind"] == "skipped")
    assert (found["count"], found["severity"]) == (3, "note")
    table = CliRunner().invoke(app, ["data", "check", f"folder:{folder}"]).stdout
    assert "2 left by an operating system, 1 not an image" in table


def test_names_in_a_report_cannot_move_the_cursor(folder: Path) -> None:
    (folder / "train" / "neutral" / "a\x1b[2J.png").write_text("no image")
    answer = CliRunner().invoke(app, ["data", "check", f"folder:{folder}"])
    assert answer.exit_code == 1
    assert "\x1b[2J" not in answer.stdout + answer.stderr
    assert r"a\x1b[2J.png" in answer.stdout
