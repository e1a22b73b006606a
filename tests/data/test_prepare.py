import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.data import Release, open_data, open_release
from emodc.data.face_data import OnDemand
from emodc.data.journal import digest_of
from emodc.data.prepare import prepare
from emodc.faces.geometry import ARCFACE_GEOMETRY
from emodc.labels import BASIC7, LabelSet

SAMPLES = Path(__file__).parents[2] / "samples"
DRAWN = open_release("synthetic:count=70,size=64")


def release(**changes: Any) -> Release:
    """Seventy drawn faces to train on and twenty to test on, with two awkward ids."""
    images = [DRAWN.split("train").image(i) for i in range(70)]
    images += [DRAWN.split("test").image(i) for i in range(20)]
    fields: dict[str, Any] = {
        "name": "made",
        "label_set": BASIC7,
        "ids": ["a/../b c.png", "é.png", *(f"p/{i}.png" for i in range(88))],
        "splits": np.array([0] * 70 + [2] * 20, dtype=np.int8),
        "labels": np.concatenate([DRAWN.split("train").labels, DRAWN.split("test").labels[:20]]),
        "reader": lambda index: images[index],
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


def test_crops_and_list_open_as_a_dataset(tmp_path: Path) -> None:
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

    def failing(done: int, total: int, note: str = "") -> None:
        reads.append(done)
        if total == 90 and len(reads) > 40:  # some way into the writing
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(release(), broken, size=32, geometry=None, progress=failing)
    finished = content(broken)
    assert 0 < len(finished) < len(content(whole))
    (broken / "journal.jsonl").open("a").write("images/half a li")  # as a killed process leaves it
    victim = broken / next(name for name in finished if name.startswith("images/"))
    victim.write_bytes(b"damaged")
    prepare(release(), broken, size=32, geometry=None)
    assert content(broken) == content(whole)


def test_other_datasettings_or_contents_are_refused(tmp_path: Path) -> None:
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


def test_faces_are_aligned_and_images_without_one_are_listed(tmp_path: Path) -> None:
    face = np.asarray(Image.open(SAMPLES / "astronaut.jpg").convert("RGB"))
    images = [face, np.zeros((60, 60), np.uint8), face[:, ::-1].copy()]
    made = Release(
        name="made",
        label_set=BASIC7,
        ids=["a", "b", "c"],
        splits=np.full(3, 2, dtype=np.int8),
        labels=np.array([0, 1, 2]),
        reader=lambda index: images[index],
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


def test_the_loaders_own_marks_are_respected(tmp_path: Path) -> None:
    marked = np.zeros(90, dtype=bool)
    marked[[4, 5, 80]] = True  # 80 is in test: nothing to leave out
    manifest = prepare(release(copied=marked), tmp_path, size=32, geometry=None)
    assert manifest["left_out"] == 2
    assert sum(manifest["written"].values()) == 88


def test_people_and_near_copies_stay_on_one_side_and_others_are_parted_as_ever(
    tmp_path: Path,
) -> None:
    base = release()
    alone = prepare(base, tmp_path / "alone", size=16, geometry=None)
    expected = set(base.split("validation").ids)
    written = [
        base.ids[int(Path(name).name[:7])]
        for name in alone["files"]
        if name.startswith("images/validation/")
    ]
    assert set(written) == expected

    def read(index: int) -> NDArray[np.uint8]:
        if 40 <= index < 44:  # near-copies of image 40, of four people
            content = io.BytesIO()
            Image.fromarray(base.reader(40)).save(content, format="JPEG", quality=90 - index)
            return np.asarray(Image.open(content))
        return base.reader(index)

    people = [f"S{i // 4}" for i in range(90)]
    people[40:44] = ["S1", "S2", "S3", "S4"]
    data = release(reader=read, subjects=people)
    prepare(data, tmp_path / "out", size=32, geometry=None)
    prepared = open_release(f"csv:{tmp_path / 'out' / 'data.csv'}")
    sides = {
        split: {people[int(Path(name).name[:7])] for name in prepared.split(split).ids}
        for split in ("train", "validation")
    }
    assert sides["validation"]
    assert not sides["train"] & sides["validation"]
    chain = {"S1", "S2", "S3", "S4"}
    assert chain <= sides["train"] or chain <= sides["validation"]


def test_the_owners_validation_split_is_kept(tmp_path: Path) -> None:
    splits = np.array([0] * 60 + [1] * 10 + [2] * 20, dtype=np.int8)
    manifest = prepare(release(splits=splits), tmp_path, size=16, geometry=None)
    assert manifest["written"] == {"train": 60, "validation": 10, "test": 20}


def test_only_the_splits_asked_for_are_written(tmp_path: Path) -> None:
    data = release()
    whole = prepare(data, tmp_path / "all", size=16, geometry=None)
    some = prepare(data, tmp_path / "some", size=16, geometry=None, splits=["validation", "train"])
    assert some["written"] == {"train": 63, "validation": 7}
    assert set(some["files"]) < set(whole["files"])
    reads: list[int] = []

    def read(index: int) -> NDArray[np.uint8]:
        reads.append(index)
        return data.reader(index)

    prepare(release(reader=read), tmp_path / "test", size=16, geometry=None, splits=["test"])
    assert sorted(reads) == list(range(70, 90))
    with pytest.raises(ValueError, match="unknown split 'val': accepted are train, validation"):
        prepare(data, tmp_path / "new", splits=["val"])
    only_test = release(splits=np.full(90, 2, np.int8), absent={"train": "see the owners"})
    with pytest.raises(ValueError, match="there is no train split: see the owners"):
        prepare(only_test, tmp_path / "new", splits=["train"])
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_read_fails_without_telling_where_it_lies(tmp_path: Path) -> None:
    base = release()

    def read(index: int) -> NDArray[np.uint8]:
        if index in (7, 75):
            raise ValueError(f"/home/me/secret/{base.ids[index]}: no such file; check the path")
        return base.reader(index)

    labels = base.labels.copy()
    labels[3] = -1
    data = release(reader=read, labels=labels)
    manifest = prepare(data, tmp_path, size=16, geometry=None)
    assert manifest["failures"] == ["p/5.png", "p/73.png"]
    assert manifest["unlabeled"] == 1
    assert (
        manifest["counts"]["test"]["fear"] == (labels[[*range(70, 75), *range(76, 90)]] == 6).sum()
    )
    assert (tmp_path / "failures.csv").read_text().splitlines()[1:] == [
        "p/5.png,no such file; check the path",
        "p/73.png,no such file; check the path",
    ]
    assert not any(b"secret" in part for part in content(tmp_path).values())


def test_an_attribute_that_cannot_be_read_is_told_before_anything_is_written(
    tmp_path: Path,
) -> None:
    def value(index: int) -> str:
        raise ValueError("p1.txt, line 6: '9' is no code of gender")

    data = release(attributes={"gender": OnDemand(90, value)})
    with pytest.raises(ValueError, match=r"p1\.txt, line 6"):
        prepare(data, tmp_path, size=16, geometry=None)
    assert not (tmp_path / "images").exists()


def test_names_of_classes_make_no_folders_elsewhere(tmp_path: Path) -> None:
    names = LabelSet("mine", tuple(f"../{name}" for name in BASIC7.classes))
    manifest = prepare(release(label_set=names), tmp_path / "out", size=16, geometry=None)
    assert all(name.count("/") == 3 and ".." not in name for name in manifest["files"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_margin_shows_more_and_needs_a_face_to_be_around(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a margin is around a face"):
        prepare(release(), tmp_path / "out", geometry=None, margin=0.1)
    face = np.asarray(Image.open(SAMPLES / "astronaut.jpg").convert("RGB"))
    one = {
        "ids": ["a"],
        "splits": np.full(1, 2, np.int8),
        "labels": np.array([1]),
        "reader": lambda index: face,
        "attributes": {},
    }
    crops = []
    for margin in (0.0, 0.5):
        folder = tmp_path / str(margin)
        prepare(release(**one), folder, size=96, margin=margin)
        crops.append(open_data(f"csv:{folder / 'data.csv'}", "test").image(0))
    shrunk = np.asarray(Image.fromarray(crops[0]).resize((48, 48), Image.Resampling.BOX))
    assert np.abs(shrunk.astype(int) - crops[1][24:72, 24:72]).mean() < 6


def test_gray_images_stay_gray_files(tmp_path: Path) -> None:
    manifest = prepare(release(), tmp_path, size=16, geometry=None)
    with Image.open(tmp_path / next(iter(manifest["files"]))) as image:
        assert image.mode == "L"
    assert manifest["tables"]["data.csv"] == digest_of((tmp_path / "data.csv").read_bytes())
