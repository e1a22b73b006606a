import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emodc.data import FaceData, open_data
from emodc.data.readers.folder import read_folder
from emodc.faces.listing import CLUTTER, HIDDEN, LINK, NOT_AN_IMAGE
from emodc.labels import BASIC7


def put(root: Path, *names: str) -> Path:
    """Write a tiny image under each name; what has no suffix becomes a folder."""
    for name in names:
        path = root / name
        if not path.suffix:
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 6), (len(name), 0, 0)).save(path)
    return root


def open_folder(root: Path, split: str) -> FaceData:
    return read_folder(root).split(split)


def class_names(data: FaceData) -> list[str]:
    return [data.label_set.classes[label] for label in data.labels]


def test_without_split_folders_everything_is_the_test_split(tmp_path: Path) -> None:
    put(tmp_path, "happy/10.png", "happy/9.png", "Anger/deep/er/a.jpg", "neutral/b.png")
    data = open_data(f"folder:{tmp_path}", "test")
    assert list(data.ids) == ["Anger/deep/er/a.jpg", "happy/9.png", "happy/10.png", "neutral/b.png"]
    assert class_names(data) == ["anger", "happiness", "happiness", "neutral"]
    assert data.label_set.classes == ("neutral", "happiness", "anger")
    assert data.image(1).shape == (6, 4, 3)
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match=r"without split folders.*move the class folders into"):
            open_data(f"folder:{tmp_path}", split)


@pytest.mark.parametrize("validation", ["validation", "val", "Val"])
def test_split_folders_are_taken_as_given(tmp_path: Path, validation: str) -> None:
    put(
        tmp_path, "train/sad/1.png", "Test/sad/3.png", f"{validation}/sad/2.png", "train/fear/4.png"
    )
    ids = [list(open_folder(tmp_path, split).ids) for split in ("train", "validation", "test")]
    assert ids == [
        ["train/fear/4.png", "train/sad/1.png"],
        [f"{validation}/sad/2.png"],
        ["Test/sad/3.png"],
    ]


def test_all_splits_have_one_label_set(tmp_path: Path) -> None:
    put(tmp_path, *(f"train/{name}/1.png" for name in BASIC7.classes), "test/fear/1.png")
    for split in ("train", "test"):
        assert open_folder(tmp_path, split).label_set is BASIC7


def test_validation_is_carved_out_of_train_by_class_and_for_good(tmp_path: Path) -> None:
    names = [
        f"train/{c}/{i}.png" for c, n in (("happy", 40), ("sad", 3), ("fear", 1)) for i in range(n)
    ]
    put(tmp_path, *names, "test/sad/1.png")
    train, validation = open_folder(tmp_path, "train"), open_folder(tmp_path, "validation")
    assert not set(train.ids) & set(validation.ids)
    assert {*train.ids, *validation.ids} == set(names)
    assert validation.label_set.classes == ("happiness", "sadness", "fear")
    assert validation.class_counts().tolist() == [4, 1, 0]
    assert validation.notes["validation split"] == "10% of train by name"
    assert len(open_folder(tmp_path, "test")) == 1

    put(tmp_path, "train/happy/new.png")
    moved = set(validation.ids) ^ set(open_folder(tmp_path, "validation").ids)
    assert len(moved - {"train/happy/new.png"}) <= 1


def test_hidden_files_are_skipped_and_others_counted(tmp_path: Path) -> None:
    put(tmp_path, "happy/a.png", "sad/b.png", "happy/.hidden/c.png", ".git/x.png", "loose.png")
    for name in ("happy/.DS_Store", "happy/._a.png", "happy/notes.txt", "sad/Thumbs.db", "README"):
        (tmp_path / name).write_text("no image")
    release = read_folder(tmp_path)
    assert list(release.ids) == ["happy/a.png", "sad/b.png"]
    assert release.skipped == {
        ".git": HIDDEN,
        "README": NOT_AN_IMAGE,
        "happy/.DS_Store": CLUTTER,
        "happy/._a.png": CLUTTER,
        "happy/.hidden": HIDDEN,
        "happy/notes.txt": NOT_AN_IMAGE,
        "sad/Thumbs.db": CLUTTER,
    }
    assert release.split("test").notes["files skipped"] == 7
    assert release.unlisted == ["loose.png"]


def test_opening_reads_no_image_and_reading_names_a_bad_one(tmp_path: Path) -> None:
    put(tmp_path, "happy/a.png", "sad/b.png")
    (tmp_path / "sad" / "b.png").write_text("not an image")
    data = open_folder(tmp_path, "test")
    with pytest.raises(ValueError, match=r"sad/b\.png"):
        data.image(1)


def test_an_unknown_class_folder_is_refused_with_the_accepted_names(tmp_path: Path) -> None:
    put(tmp_path, "happy/a.png", "joyful/b.png")
    with pytest.raises(
        ValueError, match=r"'joyful' is no class.*neutral, .*happy, .*classes\.json"
    ):
        open_folder(tmp_path, "test")


def test_a_class_map_names_numbered_folders(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}/1.png" for name in ("1", "2", "10", "9")))
    classes = {"10": "calm", "9": "bored", "2": "fear", "1": "Surprised", "11": "neutral"}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    data = open_folder(tmp_path, "test")
    # Known names first; new ones by the number of their folder; one without images counts.
    assert data.label_set.classes == ("neutral", "surprise", "fear", "bored", "calm")
    assert list(data.ids) == ["1/1.png", "2/1.png", "9/1.png", "10/1.png"]
    assert class_names(data) == ["surprise", "fear", "bored", "calm"]
    put(tmp_path, "12/1.png")
    with pytest.raises(ValueError, match=r"classes\.json has no class for the folder '12'"):
        open_folder(tmp_path, "test")


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"1": 2}', '{"1": " "}', "\x00"])
def test_a_broken_class_map_is_refused(tmp_path: Path, content: str) -> None:
    put(tmp_path, "happy/a.png", "sad/b.png")
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(
        ValueError,
        match=r"classes\.json: (not readable as JSON|expected an object)|line 1: not UTF-8",
    ):
        open_folder(tmp_path, "test")


def test_layouts_that_cannot_be_understood_are_refused(tmp_path: Path) -> None:
    def refused(name: str, *content: str, split: str = "test") -> str:
        root = put(tmp_path / name, *content)
        with pytest.raises(ValueError, match=name) as caught:
            open_folder(root, split)
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    assert "at least two" in refused("empty")
    assert "at least two" in refused("flat", "a.png", "b.png")
    assert "at least two" in refused("single", "happy/a.png")
    assert "no image" in refused("hollow", "happy", "sad")
    assert "no image" in refused("partly", "train/happy/a.png", "train/sad/b.png", "test/sad")
    assert "one split" in refused("twice", "val/sad/a.png", "validation/sad/b.png")
    assert "others beside them (sad)" in refused("mixed", "train/happy/a.png", "sad/b.png")
    assert "has no folder for it, only train" in refused(
        "untested", "train/happy/a.png", "train/sad/b.png"
    )
    assert "has no folder for it, only test" in refused(
        "tested", "test/happy/a.png", "test/sad/b.png", split="validation"
    )
    with pytest.raises(ValueError, match="no such folder"):
        open_folder(tmp_path / "missing", "test")
    with pytest.raises(ValueError, match="not a folder"):
        open_folder(tmp_path / "flat" / "a.png", "test")


def test_names_that_are_no_text_get_an_id_that_can_be_stored(tmp_path: Path) -> None:
    put(tmp_path, "happy/a.png", "sad/b.png")
    try:
        (tmp_path / "sad" / "b.png").rename(tmp_path / "sad" / "b\udcff.png")
    except OSError:
        pytest.skip("this file system holds no such name")
    data = open_folder(tmp_path, "test")
    assert data.ids[1] == "sad/b\\xff.png"
    assert np.array_equal(data.image(1).shape, (6, 4, 3))
    assert len(data.fingerprint()) == 16


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "valid", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "dev", "eval")],
)
def test_every_usual_name_of_a_split_is_known(
    tmp_path: Path, train: str, validation: str, test: str
) -> None:
    put(tmp_path, f"{train}/sad/1.png", f"{validation}/sad/2.png", f"{test}/fear/3.png")
    (tmp_path / "__MACOSX" / "sad").mkdir(parents=True)
    release = read_folder(tmp_path)
    for split, name in (("train", train), ("validation", validation), ("test", test)):
        assert [part.split("/")[0] for part in release.split(split).ids] == [name]
    assert release.skipped == {"__MACOSX": CLUTTER}


def test_own_classes_need_no_class_map(tmp_path: Path) -> None:
    put(tmp_path, "Bored/1.png", "calm/2.png")
    assert open_folder(tmp_path, "test").label_set.classes == ("bored", "calm")


def test_images_are_told_by_what_they_hold(tmp_path: Path) -> None:
    put(tmp_path, "happy/a.png", "sad/b.png", "sad/c.jp2", "sad/d.avif")
    (tmp_path / "happy" / "a.png").rename(tmp_path / "happy" / "without")
    (tmp_path / "sad" / "b.png").rename(tmp_path / "sad" / "b.jpe")
    data = open_folder(tmp_path, "test")
    assert list(data.ids) == ["happy/without", "sad/b.jpe", "sad/c.jp2", "sad/d.avif"]
    assert [data.image(i).shape for i in range(4)] == [(6, 4, 3)] * 4


def test_a_link_to_a_folder_is_named_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "happy/a.png", "sad/b.png")
    (tmp_path / "sad" / "more").symlink_to(tmp_path / "happy")
    release = read_folder(tmp_path)
    assert len(release) == 2
    assert release.skipped == {"sad/more": LINK}
