from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emodc.data.readers.ckplus import read_ckplus
from emodc.data.readers.ckplus_split import CODES, LAST_FRAMES, is_tested
from emodc.data.release import Release
from emodc.faces.listing import CLUTTER, HIDDEN, NOT_AN_IMAGE
from emodc.labels import BASIC8

TRAIN, TEST = ("S010", "S011", "S014", "S022"), ("S005", "S034", "S042", "S054")
CLASSES = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 4), 80).save(root / name)
    return root


def sequence(
    root: Path,
    code: float | str | None,
    name: str = "S005/001",
    frames: int = 6,
    images: str = "cohn-kanade-images",
    labels: str = "Emotion",
) -> Path:
    """Write a sequence as it is released; without a code its label folder is empty."""
    subject, number = name.split("/")
    stem = f"{subject}_{number}_"
    put(root, *(f"{images}/{name}/{stem}{i:08d}.png" for i in range(1, frames + 1)))
    (root / labels / name).mkdir(parents=True)
    if code is not None:
        content = code if isinstance(code, str) else f"   {code:.7e}\n"
        (root / labels / name / f"{stem}{frames:08d}_emotion.txt").write_text(content)
    return root


def label_file(root: Path) -> Path:
    return root / "Emotion" / "S005" / "001" / "S005_001_00000006_emotion.txt"


def refused(root: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_ckplus(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


def listed(release: Release) -> list[tuple[str, str]]:
    names = [name.rpartition("/")[2] for name in release.ids]
    return list(zip(names, (BASIC8.classes[k] for k in release.labels), strict=True))


# The release.


@pytest.mark.parametrize("labels", ["Emotion", "Emotion_labels/Emotion", "Emotion_labels"])
@pytest.mark.parametrize(
    "images", ["cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images"]
)
def test_the_last_frames_carry_the_class_and_the_first_is_neutral(
    tmp_path: Path, images: str, labels: str
) -> None:
    sequence(tmp_path, 3, frames=11, images=images, labels=labels)
    release = read_ckplus(tmp_path)
    assert listed(release) == [
        ("S005_001_00000001.png", "neutral"),
        ("S005_001_00000009.png", "disgust"),
        ("S005_001_00000010.png", "disgust"),
        ("S005_001_00000011.png", "disgust"),
    ]
    assert release.ids[0] == f"{images}/S005/001/S005_001_00000001.png"
    assert release.subjects == ["S005"] * 4
    assert release.reader(3).shape == (4, 6, 3)
    assert release.stamp(3).isdigit()


def test_the_codes_are_translated(tmp_path: Path) -> None:
    for code in range(8):
        sequence(tmp_path, code, f"S005/{code:03d}", frames=3)
    found = [name for _, name in listed(read_ckplus(tmp_path, last_frames=1, neutral=False))]
    assert found == [
        *("neutral", "anger", "contempt", "disgust"),
        *("fear", "happiness", "sadness", "surprise"),
    ]


def test_which_frames_are_taken_is_an_option(tmp_path: Path) -> None:
    sequence(tmp_path, 7, frames=4)

    def numbers(last_frames: int, neutral: bool) -> list[tuple[int, str]]:
        release = read_ckplus(tmp_path, last_frames=last_frames, neutral=neutral)
        return [(int(name[9:17]), label) for name, label in listed(release)]

    assert numbers(1, False) == [(4, "surprise")]
    assert numbers(1, True) == [(1, "neutral"), (4, "surprise")]
    assert numbers(2, False) == [(3, "surprise"), (4, "surprise")]
    assert [label for _, label in numbers(3, True)] == ["neutral", *["surprise"] * 3]
    # The first frame is never both.
    for last_frames in (4, 5):
        for neutral in (True, False):
            assert numbers(last_frames, neutral) == [(i, "surprise") for i in range(1, 5)]
    with pytest.raises(ValueError, match="last_frames must be at least 1, not 0"):
        read_ckplus(tmp_path, last_frames=0)


def test_sequences_without_a_label_give_no_row_and_are_counted(tmp_path: Path) -> None:
    sequence(tmp_path, 1)
    sequence(tmp_path, None, "S005/002")
    put(tmp_path, "cohn-kanade-images/S006/001/S006_001_00000001.png")
    release = read_ckplus(tmp_path)
    assert len(release) == 4
    assert release.notes == {"sequences": 3, "sequences without label": 2}


def test_frames_are_ordered_by_number(tmp_path: Path) -> None:
    folder = "cohn-kanade-images/S005/001/S005_001_"
    sequence(tmp_path, 1, frames=1)
    (tmp_path / f"{folder}00000001.png").unlink()
    put(tmp_path, *(f"{folder}{number}.png" for number in ("2", "10", "9", "100", "011")))
    label = label_file(tmp_path).with_name("S005_001_00000001_emotion.txt")
    label.rename(label.with_name("S005_001_100_emotion.txt"))
    numbers = [name[9:-4] for name, _ in listed(read_ckplus(tmp_path))]
    assert numbers == ["2", "10", "011", "100"]


def test_the_peak_is_listed_though_its_file_is_missing(tmp_path: Path) -> None:
    sequence(tmp_path, 4)
    (tmp_path / "cohn-kanade-images/S005/001/S005_001_00000006.png").unlink()
    release = read_ckplus(tmp_path)
    assert [name[-5] for name, _ in listed(release)] == ["1", "4", "5", "6"]
    with pytest.raises(ValueError, match=r"S005_001_00000006\.png: no such file"):
        release.reader(3)


def test_frames_after_the_peak_are_left_out(tmp_path: Path) -> None:
    sequence(tmp_path, 4)
    put(tmp_path, "cohn-kanade-images/S005/001/S005_001_00000007.png")
    assert [name[-5] for name, _ in listed(read_ckplus(tmp_path))] == ["1", "4", "5", "6"]


@pytest.mark.parametrize(
    "content", ["   3.0000000e+00\n", "3.0000000e+00\r\n\r\n", "\ufeff 3", "\t3.0 "]
)
def test_labels_as_they_are_written(tmp_path: Path, content: str) -> None:
    sequence(tmp_path, content)
    assert listed(read_ckplus(tmp_path))[3][1] == "disgust"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("   8.0000000e+00", "8.0000000e+00"),
        ("-1", "-1"),
        ("3.5", "3.5"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("", ""),
        ("disgust", "disgust"),
        ("3.0 1.0", "3.0 1.0"),
    ],
)
def test_a_malformed_label_names_its_file(tmp_path: Path, content: str, found: str) -> None:
    sequence(tmp_path, content)
    message = refused(tmp_path)
    assert f"{label_file(tmp_path)}, line 1: '{found}' instead of one number 0 to 7" in message


def test_labels_that_belong_to_no_sequence_are_refused(tmp_path: Path) -> None:
    root = sequence(tmp_path, 1)
    file = label_file(root)
    other = file.with_name("S005_001_00000005_emotion.txt")
    other.write_text("2")
    message = refused(root)
    assert f"{file}: the sequence S005/001 has a label already ({other.name})" in message
    other.rename(file.with_name("S006_001_00000006_emotion.txt"))
    assert "expected names such as S005/001/S005_001_00000011_emotion.txt" in refused(root)
    file.with_name("S006_001_00000006_emotion.txt").unlink()
    (root / "cohn-kanade-images" / "S005").rename(root / "cohn-kanade-images" / "S007")
    assert "labels the sequence S005/001, but" in refused(root)
    file.unlink()
    assert f"{root / 'Emotion'}: no *_emotion.txt in its folders" in refused(root)


def test_other_files_do_no_harm_and_stray_images_are_listed(tmp_path: Path) -> None:
    root = sequence(tmp_path, 1)
    images = root / "cohn-kanade-images"
    for file in (
        *(images / ".DS_Store", images / "S005" / "001" / "._S005_001_00000007.png"),
        *(images / "S005" / "Thumbs.db", root / "Emotion" / ".DS_Store"),
        *(label_file(root).with_name(f"._{label_file(root).name}"), root / "Emotion" / "Thumbs.db"),
    ):
        file.write_bytes(b"\xff")
    put(images, "S005/001/S006_001_00000001.png", "S005/cover.jpg", "S005/001/S005_001_6.png")
    release = read_ckplus(root)
    assert len(release) == 4
    # Of two files of one frame the second is not used.
    assert [name.rpartition("/")[2] for name in release.unlisted] == [
        *("S005_001_6.png", "S006_001_00000001.png", "cover.jpg")
    ]


# The folder copy.


def folder_copy(root: Path) -> Path:
    names = [f"{name}/{who}_004_00000017.png" for name in CLASSES for who in (*TRAIN, *TEST)]
    return put(root, *(name.replace("_004_", f"_{i:03d}_") for i, name in enumerate(names)))


def test_the_folder_copy_is_read_by_class(tmp_path: Path) -> None:
    release = read_ckplus(folder_copy(tmp_path))
    counts = Counter(name for _, name in listed(release))
    assert counts == dict.fromkeys(CODES[1:], 8)
    assert release.ids[0] == "anger/S005_004_00000017.png"
    assert release.subjects is not None
    assert set(release.subjects) == {*TRAIN, *TEST}
    put(tmp_path, "Neutral/S005_100_00000001.png")
    assert Counter(name for _, name in listed(read_ckplus(tmp_path)))["neutral"] == 1


def test_a_name_without_a_subject_is_refused(tmp_path: Path) -> None:
    for name in ("1.png", "S5_004_00000017.png", "anger_S010_004_00000017.png"):
        file = put(folder_copy(tmp_path), f"happy/{name}") / "happy" / name
        assert refused(tmp_path).startswith(f"{file}: the name does not start with a subject")
        file.unlink()


def test_the_folder_copy_refuses_what_it_cannot_mean(tmp_path: Path) -> None:
    root = folder_copy(tmp_path)
    with pytest.raises(ValueError, match="the frames of a folder copy were chosen"):
        read_ckplus(root, last_frames=1)
    with pytest.raises(ValueError, match="the frames of a folder copy were chosen"):
        read_ckplus(root, neutral=False)
    put(root, "fear/S010_000_00000017.png")
    twice = f"{root / 'fear' / 'S010_000_00000017.png'}: is {root / 'anger'}"
    assert twice in refused(root)
    (root / "fear" / "S010_000_00000017.png").unlink()
    (root / "boredom").mkdir()
    assert "'boredom' is no class of CK+; accepted are neutral, happiness" in refused(root)


def test_files_that_are_no_images_are_ignored_and_counted(tmp_path: Path) -> None:
    root = folder_copy(tmp_path)
    for name in ("anger/.DS_Store", "anger/._S010_000_00000017.png", "anger/Thumbs.db", "read.me"):
        (root / name).write_bytes(b"x")
    (root / ".git").mkdir()
    release = read_ckplus(root)
    assert len(release) == 56
    assert release.skipped == {
        ".git": HIDDEN,
        "anger/.DS_Store": CLUTTER,
        "anger/._S010_000_00000017.png": CLUTTER,
        "anger/Thumbs.db": CLUTTER,
        "read.me": NOT_AN_IMAGE,
    }


# The split.


def test_the_split_is_a_matter_of_the_subject_alone() -> None:
    assert not any(is_tested(subject) for subject in TRAIN)
    assert all(is_tested(subject) for subject in TEST)
    share = np.mean([is_tested(f"S{number:03d}") for number in range(1000)])
    assert 0.17 < share < 0.23


def test_no_subject_is_parted_and_both_layouts_agree(tmp_path: Path) -> None:
    people = [f"S{number:03d}" for number in range(40)]
    for number, who in enumerate(people):
        sequence(tmp_path / "release", 1 + number % 7, f"{who}/001", frames=4)
        sequence(tmp_path / "release", 1 + number % 3, f"{who}/002", frames=4)
        put(tmp_path / "copy", f"{CLASSES[number % 7]}/{who}_001_00000004.png")
    tested = {who for who in people if is_tested(who)}
    assert len(tested) > 3
    for layout in ("release", "copy"):
        release = read_ckplus(tmp_path / layout)
        seen = {
            split: {name.rpartition("/")[2][:4] for name in release.split(split).ids}
            for split in ("train", "validation", "test")
        }
        assert seen["test"] == tested
        assert seen["train"] | seen["validation"] == set(people) - tested
        assert seen["validation"]
        assert not seen["train"] & seen["validation"]
        assert release.split("train").notes["validation split"] == "10% of train by subject"


def test_a_split_without_subjects_says_why(tmp_path: Path) -> None:
    release = read_ckplus(sequence(tmp_path, 1))
    with pytest.raises(ValueError, match=r"no train split: none of the subjects found belongs"):
        release.split("train")


def test_the_published_counts_are_those_of_the_usual_frames(tmp_path: Path) -> None:
    release = read_ckplus(sequence(tmp_path / "release", 1)).official
    copy = read_ckplus(folder_copy(tmp_path / "copy")).official
    sequences = (45, 18, 59, 25, 69, 28, 83)
    for official in (release, copy):
        for name, number in zip(CODES[1:], sequences, strict=True):
            both = official["train"][name] + official["test"][name]
            assert both == LAST_FRAMES * number
    assert release["train"]["neutral"] + release["test"]["neutral"] == 327
    assert release["train"]["total"] + release["test"]["total"] == 981 + 327
    assert "neutral" not in copy["train"]
    assert "total" not in copy["train"]
    assert not read_ckplus(tmp_path / "release", neutral=False).official


# The root.


def test_a_wrong_root_is_told_which_is_right(tmp_path: Path) -> None:
    root = sequence(tmp_path / "a" / "CK+", 1)
    assert refused(root.parent).endswith(f"; give {root}")
    assert refused(root / "cohn-kanade-images").endswith(f"; give {root}")
    assert refused(root / "Emotion").endswith(f"; give {root}")
    copy = folder_copy(tmp_path / "b" / "CK+48")
    assert refused(copy.parent).endswith(f"; give {copy}")
    assert refused(copy / "anger").endswith(f"; give {copy}")
    expected = "not a CK+ folder; expected cohn-kanade-images and Emotion"
    assert expected in refused(tmp_path)
    assert expected in refused(tmp_path / "none")


@pytest.mark.parametrize("left", ["cohn-kanade-images", "Emotion"])
def test_half_a_release_is_refused(tmp_path: Path, left: str) -> None:
    root = sequence(tmp_path, 1)
    for name in ("cohn-kanade-images", "Emotion"):
        if name != left:
            (root / name).rename(root / "elsewhere")
    assert f"has {left}, but not the other folder; expected" in refused(root)
