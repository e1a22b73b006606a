import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emodc.data.readers.rafdb import read_rafdb, read_rafdb_compound
from emodc.data.release import Release
from emodc.labels import BASIC7, COMPOUND11

LIST = "EmoLabel/list_patition_label.txt"
CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


def image(path: Path, gray: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 12), (gray, gray, gray)).save(path)


def lines(codes: int) -> list[str]:
    """Two training images and a test image of each code."""
    train = [f"train_{number + 1:05d}.jpg {number % codes + 1}" for number in range(2 * codes)]
    return train + [f"test_{number + 1:04d}.jpg {number + 1}" for number in range(codes)]


def official(root: Path, part: str = "basic", codes: int = 7, kind: str = "aligned") -> Path:
    """Write a part of RAF-DB as it is handed out; the gray level of an image is 10 times its code.

    Returns:
        The folder of the part.
    """
    folder = root / part
    (folder / "EmoLabel").mkdir(parents=True)
    (folder / LIST).write_text("\n".join(lines(codes)) + "\n")
    ending = "_aligned.jpg" if kind == "aligned" else ".jpg"
    for line in lines(codes):
        name, code = line.split()
        image(folder / "Image" / kind / name.replace(".jpg", ending), 10 * int(code))
    return folder


def copy(root: Path) -> Path:
    """Write the copy that is passed on, with the same images; return the folder of the splits."""
    for line in lines(7):
        name, code = line.split()
        split = name.split("_")[0]
        image(root / "DATASET" / split / code / name.replace(".jpg", "_aligned.jpg"))
    return root / "DATASET"


def attribute_file(folder: Path, stem: str, *codes: int) -> Path:
    file = folder / "Annotation/manual" / f"{stem}_manu_attri.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    landmarks = ["34.2\t50.1", "70.3\t48.9", "52.0\t71.7", "40.1\t88.0", "66.6\t87.2"]
    file.write_text("\r\n".join([*landmarks, *map(str, codes)]) + "\r\n")
    return file


def labels_by_id(release: Release) -> dict[str, tuple[int, str]]:
    names = release.label_set.classes
    return {
        name: (int(split), names[label])
        for name, split, label in zip(release.ids, release.splits, release.labels, strict=True)
    }


def refused(read: Callable[[Path], Release], root: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_codes_are_those_of_the_release(tmp_path: Path) -> None:
    official(tmp_path)
    release = read_rafdb(tmp_path)
    assert (release.name, release.label_set) == ("rafdb", BASIC7)
    found = labels_by_id(release)
    assert [found[f"test_{n:04d}.jpg"] for n in range(1, 8)] == [(2, name) for name in CLASSES]
    assert [found[f"train_{n:05d}.jpg"] for n in range(8, 15)] == [(0, name) for name in CLASSES]
    anger = release.ids.index("test_0006.jpg")
    assert release.reader(anger).shape == (12, 10, 3)
    assert abs(int(release.reader(anger).mean()) - 60) < 3
    assert not release.unlisted
    assert release.attributes == {}
    assert release.notes == {"images": "aligned"}


def test_the_published_counts_add_up(tmp_path: Path) -> None:
    official(tmp_path)
    official(tmp_path, "compound", 11)
    counts = read_rafdb(tmp_path).official
    for split, total in (("train", 12_271), ("test", 3_068)):
        assert set(counts[split]) == {"total", *BASIC7.classes}
        assert counts[split]["total"] == total
        assert sum(counts[split][name] for name in BASIC7.classes) == total
    assert counts["test"]["fear"] == 74  # the smallest class, which a shift of codes would move
    compound = read_rafdb_compound(tmp_path).official
    assert compound == {"train": {"total": 3_162}, "test": {"total": 792}}


def test_compound_codes_are_in_the_order_of_the_label_set(tmp_path: Path) -> None:
    folder = official(tmp_path, "compound", 11)
    for root in (tmp_path, folder):
        release = read_rafdb_compound(root)
        assert (release.name, release.label_set) == ("rafdb-compound", COMPOUND11)
        test = release.split("test")
        assert [test.label_set.classes[label] for label in test.labels] == list(COMPOUND11.classes)
        assert test.ids[10] == "test_0011.jpg"


def test_every_layout_has_the_same_images_in_the_same_splits(tmp_path: Path) -> None:
    aligned = official(tmp_path / "a")
    original = official(tmp_path / "b", kind="original")
    copied = copy(tmp_path / "c")
    roots = [aligned.parent, aligned, original.parent, original, copied.parent, copied]
    releases = [read_rafdb(root) for root in roots]
    expected = labels_by_id(releases[0])
    assert len(expected) == 21
    for release in releases:
        assert labels_by_id(release) == expected
        assert not release.unlisted
        assert release.reader(0).shape == (12, 10, 3)
    for split in ("train", "validation"):
        ids = {tuple(sorted(release.split(split).ids)) for release in releases}
        assert len(ids) == 1
    assert [release.notes["images"] for release in releases[1:4]] == [
        "aligned",
        *["original"] * 2,
    ]


def test_a_renamed_part_folder_is_accepted(tmp_path: Path) -> None:
    folder = official(tmp_path).rename(tmp_path / "raf-basic")
    assert len(read_rafdb(folder)) == 21


def test_aligned_images_are_preferred(tmp_path: Path) -> None:
    folder = official(tmp_path)
    image(folder / "Image/original/train_00001.jpg")
    assert read_rafdb(tmp_path).notes["images"] == "aligned"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_editors_do_to_the_list_is_harmless(tmp_path: Path, ending: str, mark: str) -> None:
    folder = official(tmp_path)
    expected = labels_by_id(read_rafdb(tmp_path))
    text = mark + ending.join(lines(7)) + ending * 3
    (folder / LIST).unlink()
    (folder / "EmoLabel/list_partition_label.txt").write_text(text, newline="", encoding="utf-8")
    assert labels_by_id(read_rafdb(tmp_path)) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_00002.jpg 8", r"'8' is no class code; accepted are 1 surprise, .*7 neutral"),
        ("train_00002.jpg 0", r"'0' is no class code"),
        ("train_00002.jpg happy", r"'happy' is no class code"),
        ("train_00002.jpg", r"'train_00002.jpg' is not of the form 'train_00001.jpg 5'"),
        ("train_00002.jpg 2 3", r"is not of the form"),
        ("train_00002.jpg,2", r"is not of the form"),
        ("valid_00002.jpg 2", r"is not of the form"),
        ("train_00001.jpg 2", r"'train_00001.jpg' is listed already in line 1"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    folder = official(tmp_path)
    changed = lines(7)
    changed[1] = line
    (folder / LIST).write_text("\n".join(changed))
    place = rf"list_patition_label\.txt, line 2: .*{message}.*restore the line from the released"
    with pytest.raises(ValueError, match=place):
        read_rafdb(tmp_path)


def test_a_missing_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    folder = official(tmp_path)
    (folder / "Image/aligned/train_00001_aligned.jpg").unlink()
    release = read_rafdb(tmp_path)
    with pytest.raises(ValueError, match=r"aligned/train_00001_aligned\.jpg: no such file"):
        release.reader(0)


def test_an_unreadable_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    folder = official(tmp_path)
    (folder / "Image/aligned/train_00001_aligned.jpg").write_text("<html>")
    with pytest.raises(ValueError, match=r"train_00001_aligned\.jpg: not an image"):
        read_rafdb(tmp_path).reader(0)


def test_images_that_the_list_does_not_mention_are_reported(tmp_path: Path) -> None:
    folder = official(tmp_path)
    image(folder / "Image/aligned/train_99999_aligned.jpg")
    for junk in (".DS_Store", "Thumbs.db", "._train_00001_aligned.jpg"):
        (folder / "Image/aligned" / junk).write_text("junk")
    assert read_rafdb(tmp_path).unlisted == ["basic/Image/aligned/train_99999_aligned.jpg"]
    assert read_rafdb(folder).unlisted == ["Image/aligned/train_99999_aligned.jpg"]


def test_missing_files_of_the_release_are_named(tmp_path: Path) -> None:
    folder = official(tmp_path)
    (folder / LIST).write_text("\n")
    assert "lists no image" in refused(read_rafdb, tmp_path)
    (folder / LIST).unlink()
    assert "EmoLabel: no list_patition_label.txt here" in refused(read_rafdb, tmp_path)
    (folder / LIST).write_text("\n".join(lines(7)))
    shutil.rmtree(folder / "Image")
    assert "Image: needs a folder 'aligned' or 'original'" in refused(read_rafdb, tmp_path)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("", "raf"),
        ("raf/basic/Image", "raf/basic"),
        ("raf/basic/EmoLabel", "raf/basic"),
        ("raf/basic/Image/aligned", "raf/basic"),
        ("raf/missing", "raf"),
    ],
)
def test_a_wrong_root_is_answered_with_the_right_one(
    tmp_path: Path, given: str, right: str
) -> None:
    official(tmp_path / "raf")
    official(tmp_path / "raf", "compound", 11)
    message = refused(read_rafdb, tmp_path / given)
    assert message.endswith(f"; give {tmp_path / right}")
    assert "expected ROOT/basic/EmoLabel/list_patition_label.txt or ROOT/DATASET/" in message
    compound = refused(read_rafdb_compound, tmp_path / given.replace("basic", "compound"))
    assert compound.endswith(f"; give {tmp_path / right.replace('basic', 'compound')}")


def test_a_wrong_root_of_the_copy_is_answered_with_the_right_one(tmp_path: Path) -> None:
    folder = copy(tmp_path / "raf")
    for given in (folder / "train", folder / "train" / "1"):
        assert refused(read_rafdb, given).endswith(f"; give {folder}")
    assert refused(read_rafdb, tmp_path).endswith(f"; give {tmp_path / 'raf'}")


def test_one_part_is_not_taken_for_the_other(tmp_path: Path) -> None:
    basic, compound = official(tmp_path), official(tmp_path, "compound", 11)
    message = refused(read_rafdb, compound)
    assert (
        message
        == f"{compound}: the compound part of RAF-DB; open it as 'rafdb-compound:{compound}'"
    )
    message = refused(read_rafdb_compound, basic)
    assert message == f"{basic}: the basic part of RAF-DB; open it as 'rafdb:{basic}'"
    shutil.rmtree(compound)
    assert "no compound part of RAF-DB here" in refused(read_rafdb_compound, tmp_path)
    # The copy has codes of the basic part only.
    folder = copy(tmp_path / "copy")
    assert "no compound part of RAF-DB here" in refused(read_rafdb_compound, folder)


def test_the_copy_tolerates_junk_and_reports_stray_images(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "train" / "__MACOSX").mkdir()
    (folder / "train" / ".DS_Store").write_text("junk")
    (folder / "train" / "1" / "Thumbs.db").write_text("junk")
    image(folder / "train" / "loose.jpg")
    release = read_rafdb(tmp_path)
    assert len(release) == 21
    assert release.unlisted == ["train/loose.jpg"]


def test_a_copied_test_image_is_left_to_the_check(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    shutil.copy(folder / "test/4/test_0004_aligned.jpg", folder / "train/4")
    found = labels_by_id(read_rafdb(tmp_path))
    assert found["train/4/test_0004_aligned.jpg"] == (0, "happiness")
    assert found["test_0004.jpg"] == (2, "happiness")


def test_a_image_in_two_class_folders_is_refused(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    shutil.copy(folder / "train/4/train_00004_aligned.jpg", folder / "train/5")
    message = refused(read_rafdb, tmp_path)
    assert f"{folder / 'train/5/train_00004_aligned.jpg'}: the same image as" in message
    assert f"{folder / 'train/4/train_00004_aligned.jpg'}; remove one of the two" in message


def test_other_class_folders_are_refused(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "test" / "8").mkdir()
    assert "test: has the folders 1, 2, 3, 4, 5, 6, 7, 8 instead of 1 to 7" in refused(
        read_rafdb, folder
    )
    (folder / "test" / "8").rmdir()
    shutil.rmtree(folder / "train" / "3")
    assert "train: has the folders 1, 2, 4, 5, 6, 7 instead of 1 to 7" in refused(
        read_rafdb, folder
    )
    for file in folder.glob("t*/*/*.jpg"):
        file.unlink()
    (folder / "train" / "3").mkdir()
    assert "no image in its class folders" in refused(read_rafdb, folder)


def test_attributes_are_read_by_name(tmp_path: Path) -> None:
    folder = official(tmp_path)
    attribute_file(folder, "test_0001", 0, 0, 4)
    attribute_file(folder, "test_0002", 1, 1, 0)
    attribute_file(folder, "test_0003", 2, 2, 1)
    attribute_file(folder, "train_00001", 1, 2, 2)
    release = read_rafdb(tmp_path)
    assert list(release.attributes) == ["gender", "race", "age"]
    assert release.attributes["age"][0] == "20-39"
    test = release.split("test").subset(np.array([2, 0, 1, 6]))
    assert list(test.ids)[:2] == ["test_0003.jpg", "test_0001.jpg"]
    assert {name: list(values) for name, values in test.attributes.items()} == {
        "gender": ["unsure", "male", "female", ""],
        "race": ["Asian", "Caucasian", "African-American", ""],
        "age": ["4-19", "70+", "0-3", ""],
    }
    assert test.attributes["gender"][1:3] == ["male", "female"]


def test_attribute_files_are_read_only_for_the_images_asked_for(tmp_path: Path) -> None:
    folder = official(tmp_path)
    bad = attribute_file(folder, "train_00001", 0, 0)
    good = attribute_file(folder, "test_0001", 0, 0, 0)
    release = read_rafdb(tmp_path)
    test = release.split("test")
    assert test.attributes["age"][0] == "0-3"
    good.unlink()  # read before: not again for another attribute
    assert test.attributes["gender"][0] == "male"
    with pytest.raises(
        ValueError, match=r"train_00001_manu_attri\.txt, line 8: '' is no code of age"
    ):
        list(release.attributes["gender"])
    bad.write_text("0\n" * 5 + "0\n3\n0\n")
    with pytest.raises(
        ValueError, match=r"line 7: '3' is no code of race; accepted are 0 Caucasian"
    ):
        release.attributes["race"][0]


def test_a_split_is_carved_for_validation_and_never_from_test(tmp_path: Path) -> None:
    official(tmp_path)
    train, validation, test = (
        read_rafdb(tmp_path).split(split) for split in ("train", "validation", "test")
    )
    assert len(train) + len(validation) == 14
    assert validation.notes["validation split"] == "10% of train by name"
    assert all(name.startswith("train") for name in (*train.ids, *validation.ids))
    assert all(name.startswith("test") for name in test.ids)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "valid", "test"), ("Training", "Validation", "Testing"), ("train", "val", "")],
)
def test_a_copy_with_a_validation_folder_is_taken_as_it_is(
    tmp_path: Path, train: str, validation: str, test: str
) -> None:
    folder = copy(tmp_path)
    held = sorted((folder / "train" / "1").iterdir())
    for code in range(1, 8):
        (folder / validation / str(code)).mkdir(parents=True)
    held[0].rename(folder / validation / "1" / held[0].name)
    before = len(held)
    (folder / "train").rename(folder / train)
    if test:
        (folder / "test").rename(folder / test)
    else:
        shutil.rmtree(folder / "test")
    (folder / "__MACOSX").mkdir()
    (folder / train / "1" / "Thumbs.db").touch()
    release = read_rafdb(tmp_path)
    assert len(release.rows("validation")) == 1
    assert release.ids[release.rows("validation")[0]] == held[0].name.replace("_aligned", "")
    assert (release.labels[release.rows("train")] == BASIC7.index("surprise")).sum() == before - 1
    assert list(release.skipped.values()) == ["left by an operating system"]
    if test:
        assert release.official["test"]["total"] == 3_068
    else:
        with pytest.raises(ValueError, match=r"no test split: .* has only train, validation"):
            release.split("test")


def test_a_dataset_beside_the_given_folder_is_not_advised(tmp_path: Path) -> None:
    copy(tmp_path / "somebody")
    (tmp_path / "mine" / "train" / "happy").mkdir(parents=True)
    for given in (tmp_path / "mine", tmp_path / "mine" / "train"):
        assert str(tmp_path / "somebody") not in refused(read_rafdb, given)
