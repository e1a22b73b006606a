import shutil
from pathlib import Path

import pytest
from PIL import Image

from emodc.data.readers.sfew import CLASSES, read_sfew
from emodc.data.release import Release
from emodc.labels import BASIC7, canonical_name

FILMS = ("21", "Airheads", "HarryPotter_Deathly_Hallows_1", "OceansEleven")
TRAIN, VAL = "Train/Train_Aligned_Faces", "Val/Val_Aligned_Faces_new"


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 12)).save(path)


def sfew(root: Path, train: str = TRAIN, val: str = VAL) -> Path:
    """Write four images a class in train, one a class in val, and two without a label."""
    for number, name in enumerate(CLASSES):
        for frame, film in enumerate(FILMS):
            image(root / train / name / f"{film}_00051924{number}_0000000{frame}.png")
        image(root / val / name / f"Terminal_01460164{number}_00000037.png")
    for frame in (1, 2):
        image(root / "Test" / "Test_Aligned_Faces" / f"Titanic_012345678_0000000{frame}.png")
    return root


def labels_by_id(release: Release) -> dict[str, tuple[int, str]]:
    names = release.label_set.classes
    return {
        name: (int(split), names[label])
        for name, split, label in zip(release.ids, release.splits, release.labels, strict=True)
    }


def refused(root: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_sfew(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "val", "kind"),
    [
        (TRAIN, VAL, "aligned faces"),
        (TRAIN, "Val/Val_Aligned_Faces", "aligned faces"),
        (f"{TRAIN}/Train_Aligned_Faces", f"{VAL}/Val_Aligned_Faces_new", "aligned faces"),
        (f"{TRAIN}/Train_Aligned_Faces", f"{VAL}/Val_Aligned_Faces", "aligned faces"),
        ("Train_Aligned_Faces", "Val_Aligned_Faces_new", "aligned faces"),
        ("Train", "Val", "original frames"),
        ("Train/Train", "Val/Val", "original frames"),
    ],
)
def test_every_layout_is_read(tmp_path: Path, train: str, val: str, kind: str) -> None:
    release = read_sfew(sfew(tmp_path, train, val))
    assert (release.name, release.label_set) == ("sfew", BASIC7)
    expected = {
        f"{folder}/{name}/{file.name}": (split, canonical_name(name))
        for split, folder in ((0, train), (2, val))
        for name in CLASSES
        for file in (tmp_path / folder / name).iterdir()
    }
    assert len(expected) == 35
    assert labels_by_id(release) == expected
    assert release.reader(0).shape == (12, 10, 3)
    assert release.notes["images"] == kind
    totals = {split: counts["total"] for split, counts in release.official.items()}
    aligned = kind == "aligned faces"
    assert totals == ({"train": 891, "test": 431} if aligned else {"train": 958, "test": 436})


def test_val_is_the_test_split_and_test_is_only_counted(tmp_path: Path) -> None:
    release = read_sfew(sfew(tmp_path))
    assert release.owners_names == {"train": "Train", "test": "Val"}
    assert all(name.startswith("Val/") for name in release.split("test").ids)
    assert release.notes["images of Test, whose labels are not public"] == 2
    shutil.rmtree(tmp_path / "Test")
    assert read_sfew(tmp_path).notes["images of Test, whose labels are not public"] == 0


def test_validation_never_parts_a_film(tmp_path: Path) -> None:
    sfew(tmp_path)
    for number in range(40):
        for frame in range(3):
            name = CLASSES[(number + frame) % 7]
            image(tmp_path / TRAIN / name / f"Film_{number}_000519240_0000000{frame}.png")
    release = read_sfew(tmp_path)
    assert release.subjects is not None
    film_of = dict(zip(release.ids, release.subjects, strict=True))
    assert set(FILMS) | {"Film_7", "Terminal"} <= set(film_of.values())
    assert len(set(film_of.values())) == 45
    train, validation = release.split("train"), release.split("validation")
    assert validation.notes["validation split"] == "10% of train by subject"
    assert {film_of[i] for i in train.ids}.isdisjoint(film_of[i] for i in validation.ids)


def test_a_image_of_another_name_is_a_film_of_its_own(tmp_path: Path) -> None:
    sfew(tmp_path)
    image(tmp_path / TRAIN / "Sad" / "mine.png")
    release = read_sfew(tmp_path)
    assert release.subjects is not None
    mine = f"{TRAIN}/Sad/mine.png"
    assert release.subjects[release.ids.index(mine)] == mine


def test_aligned_faces_are_preferred_to_frames(tmp_path: Path) -> None:
    sfew(sfew(tmp_path), "Train", "Val")
    release = read_sfew(tmp_path)
    assert release.notes["images"] == "aligned faces"
    assert len(release) == 35


def test_aligned_faces_are_not_mixed_with_frames(tmp_path: Path) -> None:
    message = refused(sfew(tmp_path / "a", TRAIN, "Val"))
    assert f"{tmp_path / 'a' / TRAIN}: aligned faces, but {tmp_path / 'a/Val'} holds" in message
    message = refused(sfew(tmp_path / "b", "Train", VAL))
    assert f"{tmp_path / 'b' / VAL}: aligned faces, but {tmp_path / 'b/Train'} holds" in message


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("", "SFEW_2.0"),
        ("SFEW_2.0/Train", "SFEW_2.0"),
        ("SFEW_2.0/Val", "SFEW_2.0"),
        (f"SFEW_2.0/{TRAIN}", "SFEW_2.0"),
        ("SFEW_2.0/missing", "SFEW_2.0"),
    ],
)
def test_a_wrong_root_is_answered_with_the_right_one(
    tmp_path: Path, given: str, right: str
) -> None:
    sfew(tmp_path / "SFEW_2.0")
    message = refused(tmp_path / given)
    assert message.endswith(f"expected ROOT/Train and ROOT/Val; give {tmp_path / right}")


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    shutil.rmtree(sfew(tmp_path) / "Val")
    assert f"{tmp_path}: no folder Val here; expected" in refused(tmp_path)


def test_missing_and_unknown_class_folders_are_refused(tmp_path: Path) -> None:
    sfew(tmp_path)
    (tmp_path / VAL / "Contempt").mkdir()
    message = refused(tmp_path)
    assert f"{tmp_path / VAL}: unknown folders Contempt; expected Angry, Disgust, Fear" in message
    (tmp_path / VAL / "Contempt").rmdir()
    shutil.rmtree(tmp_path / TRAIN / "Fear")
    assert f"{tmp_path / TRAIN}: no folder Fear; expected Angry" in refused(tmp_path)


def test_junk_is_skipped_and_stray_images_are_reported(tmp_path: Path) -> None:
    sfew(tmp_path)
    (tmp_path / TRAIN / "__MACOSX").mkdir()
    for junk in (".DS_Store", "Angry/Thumbs.db", "Angry/._21_000519240_00000000.png"):
        (tmp_path / TRAIN / junk).write_text("junk")
    image(tmp_path / TRAIN / "loose.png")
    release = read_sfew(tmp_path)
    assert len(release) == 35
    assert release.unlisted == [f"{TRAIN}/loose.png"]


def test_class_folders_without_images_are_refused(tmp_path: Path) -> None:
    sfew(tmp_path)
    for file in tmp_path.rglob("*.png"):
        file.unlink()
    assert "no image in its class folders" in refused(tmp_path)


def test_an_unreadable_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    sfew(tmp_path)
    name = f"{TRAIN}/Angry/Airheads_000519240_00000001.png"
    (tmp_path / name).write_text("<html>")
    release = read_sfew(tmp_path)
    with pytest.raises(ValueError, match=r"Airheads_000519240_00000001\.png: not an image"):
        release.reader(release.ids.index(name))


def test_faceless_images_are_left_out_of_both_splits_and_counted(tmp_path: Path) -> None:
    sfew(tmp_path)
    without = [
        f"{TRAIN}/Angry/21_000519240_00000000.png",
        f"{VAL}/Sad/Terminal_014601645_00000037.png",
    ]
    text = "\ufeff# crops without a face\r\n\r\n" + "\r\n".join(without) + "\r\n\r\n"
    (tmp_path / "faceless.txt").write_text(text, encoding="utf-8", newline="")
    release = read_sfew(tmp_path)
    assert len(release) == 35
    assert release.notes["left out by faceless.txt"] == 2
    parts = [release.split(split) for split in ("train", "validation", "test")]
    used = {name for part in parts for name in part.ids}
    assert used == set(release.ids) - set(without)
    assert read_sfew(tmp_path).split("test").notes["rows without a label"] == 1
    (tmp_path / "faceless.txt").unlink()
    assert read_sfew(tmp_path).notes["left out by faceless.txt"] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{TRAIN}/Angry/nobody.png", "is no image of Train or Val"),
        (f"{TRAIN}/Angry", "is no image of Train or Val"),
        ("Test/Test_Aligned_Faces/Titanic_012345678_00000001.png", "is no image of Train or Val"),
        (f"{TRAIN}/Angry/21_000519240_00000000.png", "is in line 2 already"),
    ],
)
def test_a_wrong_line_of_the_filter_is_named(tmp_path: Path, line: str, message: str) -> None:
    sfew(tmp_path)
    first = f"{TRAIN}/Angry/21_000519240_00000000.png"
    (tmp_path / "faceless.txt").write_text(f"# no face\n{first}\n{line}\n")
    found = refused(tmp_path)
    assert f"{tmp_path / 'faceless.txt'}, line 3: '{line}' {message}" in found
