import csv
import gzip
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from emodc.data import FaceData, open_data
from emodc.data.face_data import SPLITS
from emodc.data.readers.fer2013 import read_fer2013
from emodc.data.readers.fer2013_rows import FER2013_CODES, USAGES, read_rows
from emodc.data.readers.fer2013plus import majority_labels
from emodc.labels import BASIC7, BASIC8

HEADER = "emotion,pixels,Usage"
VOTES_HEADER = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
)
# (image, emotion code, usage, votes). Equal image numbers are equal pixels.
ROWS: Sequence[tuple[int, int, str, str]] = (
    (0, 0, "Training", "0,0,0,0,9,1,0,0,0,0"),  # anger
    (1, 1, "Training", "0,0,0,0,0,8,0,2,0,0"),  # disgust
    (2, 2, "Training", "0,0,5,0,0,0,5,0,0,0"),  # a tie
    (3, 3, "Training", "0,10,0,0,0,0,0,0,0,0"),  # happiness, also in PublicTest
    (3, 3, "PublicTest", "0,10,0,0,0,0,0,0,0,0"),
    (4, 4, "PublicTest", "4,0,0,6,0,0,0,0,0,0"),  # sadness, also in PrivateTest
    (4, 5, "PrivateTest", "0,0,10,0,0,0,0,0,0,0"),
    (5, 6, "PrivateTest", "0,0,0,0,0,0,0,10,0,0"),  # contempt
    (6, 6, "PrivateTest", "10,0,0,0,0,0,0,0,0,0"),
)


def image(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (48, 48), dtype=np.uint8)


def pixel_lines() -> list[str]:
    return [
        HEADER,
        *(
            f"{emotion},{' '.join(map(str, image(number).ravel().tolist()))},{usage}"
            for number, emotion, usage, _ in ROWS
        ),
    ]


def vote_lines() -> list[str]:
    return [VOTES_HEADER, *(f"{usage},fer.png,{votes}" for _, _, usage, votes in ROWS)]


def write(file: Path, lines: list[str], end: str = "\n") -> None:
    content = (end.join(lines) + end).encode()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMODC_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "fer"
    root.mkdir()
    write(root / "fer2013.csv", pixel_lines())
    write(root / "fer2013new.csv", vote_lines())
    return root


def class_names(data: FaceData) -> list[str]:
    return [data.label_set.classes[label] for label in data.labels]


def test_codes_are_translated_by_name_not_by_position(folder: Path) -> None:
    data = [open_data(f"fer2013:{folder}", split) for split in ("train", "validation", "test")]
    assert [class_names(part) for part in data] == [
        ["anger", "disgust", "fear"],
        ["happiness", "sadness"],
        ["surprise", "neutral", "neutral"],
    ]
    assert BASIC7.classes != FER2013_CODES
    assert set(FER2013_CODES) == set(BASIC7.classes)


def test_images_ids_and_labels_belong_together(folder: Path) -> None:
    data = open_data(f"fer2013:{folder}", "test")
    assert list(data.ids) == ["row00006", "row00007", "row00008"]
    for index, number in enumerate((4, 5, 6)):
        shown = data.image(index)
        assert shown.dtype == np.uint8
        assert shown.flags.writeable
        np.testing.assert_array_equal(shown, image(number))


def test_training_leaves_out_what_is_evaluated_on(folder: Path) -> None:
    train = open_data(f"fer2013:{folder}", "train")
    assert "row00003" not in train.ids
    assert train.notes["dropped, also in validation or test"] == 1
    validation = open_data(f"fer2013:{folder}", "validation")
    assert len(validation) == validation.notes["rows"] == 2


def test_fer_plus_labels_and_votes(folder: Path) -> None:
    train = open_data(f"fer2013plus:{folder}", "train")
    assert class_names(train) == ["anger", "disgust"]
    assert train.notes["rows without a label"] == 1
    assert train.votes is not None
    np.testing.assert_array_equal(train.votes, np.eye(7)[[4, 5]])
    validation = open_data(f"fer2013plus:{folder}", "validation")
    assert validation.votes is not None
    np.testing.assert_allclose(validation.votes[1], [0.4, 0, 0, 0.6, 0, 0, 0])


def test_the_eight_classes_include_contempt(folder: Path) -> None:
    seven = open_data(f"fer2013plus:{folder}", "test")
    eight = open_data(f"fer2013plus8:{folder}", "test")
    assert class_names(seven) == ["surprise", "neutral"]
    assert class_names(eight) == ["surprise", "contempt", "neutral"]
    assert eight.label_set is BASIC8
    votes = open_data(f"fer2013plus8:{folder}", "train").votes
    assert votes is not None
    np.testing.assert_allclose(votes[1], [0, 0, 0, 0, 0, 0.8, 0, 0.2])


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ("6,1,1,1,1,0,0,0,0,0", 0),  # lone votes do not count
        ("5,5,0,0,0,0,0,0,0,0", -1),  # exactly half is no majority
        ("4,3,3,0,0,0,0,0,0,0", -1),
        ("1,1,1,1,1,1,1,1,1,1", -1),  # nothing remains
        ("4,0,0,0,0,0,0,0,4,2", -1),
        ("5,0,0,0,0,0,0,0,3,1", 0),  # "unknown" counts against, unless it is a lone vote
        ("5,0,0,0,0,0,0,0,3,2", -1),
        ("0,0,0,0,0,0,0,0,10,0", -1),
        ("0,0,0,0,0,0,0,0,0,10", -1),
    ],
)
def test_the_rule_of_the_fer_plus_authors(votes: str, label: int) -> None:
    labels, _ = majority_labels(np.array([[int(vote) for vote in votes.split(",")]]), 7)
    assert labels.tolist() == [label]


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.int64, (5, 10), elements=st.integers(0, 10)), st.sampled_from([7, 8]))
def test_a_label_is_the_class_most_voted_for(votes: NDArray[np.int64], num_classes: int) -> None:
    labels, shares = majority_labels(votes, num_classes)
    found = labels >= 0
    assert (labels < num_classes).all()
    assert (shares[found].argmax(axis=1) == labels[found]).all()
    np.testing.assert_allclose(shares[found].sum(axis=1), 1.0, rtol=1e-6)
    assert np.isfinite(shares).all()


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_compressed_and_quoted_files_are_read_alike(
    folder: Path, name: str, end: str
) -> None:
    expected = open_data(f"fer2013:{folder}", "train")
    (folder / "fer2013.csv").unlink()
    quoted = ['"' + line.replace(",", '","') + '"' for line in pixel_lines()[1:]]
    write(folder / name, ["\ufeff" + HEADER, *quoted], end)
    data = open_data(f"fer2013:{folder}", "train")
    assert data.fingerprint() == expected.fingerprint()
    np.testing.assert_array_equal(data.image(1), expected.image(1))


def test_a_changed_file_is_parsed_again_and_an_unchanged_one_is_not(folder: Path) -> None:
    file = folder / "fer2013.csv"
    before = read_rows(folder)
    assert read_rows(folder) is before
    lines = pixel_lines()
    lines[1] = "6" + lines[1][1:]
    write(file, lines)
    os.utime(file, ns=(0, 0))
    assert read_rows(folder)["emotion"][0] == 6
    assert before["emotion"][0] == 0


def test_without_a_cache_the_data_are_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = open_data(f"fer2013:{folder}", "test")
    monkeypatch.setenv("EMODC_CACHE", str(folder / "fer2013.csv"))
    for split in ("train", "validation", "test"):
        data = open_data(f"fer2013:{folder}", split)
    assert data.fingerprint() == expected.fingerprint()
    np.testing.assert_array_equal(data.image(0), expected.image(0))
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def broken(folder: Path, name: str, line: int, old: str, new: str) -> str:
    """Change one line (counted from 1) and return what opening FER+ then says."""
    file = folder / name
    lines = file.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    write(file, lines)
    with pytest.raises(ValueError, match=f"{name}, line {line}: ") as caught:
        open_data(f"fer2013plus:{folder}", "train")
    assert "restore the line" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "old", "new", "says"),
    [
        (1, "emotion", "label", "the header is 'label,pixels,Usage'"),
        (3, ",Training", "", "2 columns instead of 3"),
        (3, ",Training", ",Training,", "4 columns instead of 3"),
        (3, "Training", "training", "Usage 'training' instead of Training, PublicTest"),
        (2, "0,", "7,", "emotion '7' instead of 0 to 6"),
        (2, "0,", "anger,", "emotion 'anger'"),
        (4, " ", " 12 ", "2305 pixels instead of 2304"),
        (4, " ", "", "2303 pixels instead of 2304"),
        (4, " ", " x", "'x' among the pixels"),
        (4, " ", " -", "'-' among the pixels"),
        (4, " ", " 99999999999999999999", "pixel 9223372036854775807 instead of 0 to 255"),
        (4, " ", " 999", "pixel 999"),
    ],
)
def test_a_malformed_pixel_file_is_refused_by_line(
    folder: Path, line: int, old: str, new: str, says: str
) -> None:
    assert says in broken(folder, "fer2013.csv", line, old, new)


@pytest.mark.parametrize(
    ("line", "old", "new", "says"),
    [
        (1, "NF", "NotFace", "the header is"),
        (3, ",8", "", "11 columns instead of 12"),
        (3, ",8", ",eight", "'eight' votes for disgust"),
        (3, ",8", ",-8", "'-8' votes for disgust"),
        (6, "PublicTest", "Training", "the pixel file has 'PublicTest'"),
    ],
)
def test_a_malformed_vote_file_is_refused_by_line(
    folder: Path, line: int, old: str, new: str, says: str
) -> None:
    assert says in broken(folder, "fer2013new.csv", line, old, new)


@pytest.mark.parametrize("lines", [vote_lines()[:-1], [*vote_lines(), vote_lines()[-1]]])
def test_files_of_different_lengths_are_refused(folder: Path, lines: list[str]) -> None:
    write(folder / "fer2013new.csv", lines)
    with pytest.raises(ValueError, match=f"line {len(lines)}: .*{len(lines) - 1} rows.* has 9"):
        open_data(f"fer2013plus:{folder}", "train")


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013.csv.gz"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe binary", b"emotion,pixels,Usage\n"])
def test_a_file_without_rows_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / "fer2013.csv").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"fer2013\.csv"):
        open_data(f"fer2013:{folder}", "train")


def test_a_half_downloaded_file_is_refused(folder: Path) -> None:
    (folder / "fer2013.csv").unlink()
    file = folder / "fer2013.csv.gz"
    write(file, pixel_lines())
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"cannot be read beyond line \d+.*download it again"):
        open_data(f"fer2013:{folder}", "train")


def test_a_wrong_folder_is_told_the_right_one(folder: Path) -> None:
    (folder / "docs").mkdir()
    for wrong in (folder / "missing", folder / "fer2013.csv", folder / "docs", folder.parent):
        with pytest.raises(ValueError, match=r"no fer2013\.csv or fer2013\.csv\.gz here") as caught:
            open_data(f"fer2013:{wrong}", "train")
        assert f"; give {folder}: " in str(caught.value)
    (folder / "fer2013new.csv").unlink()
    with pytest.raises(ValueError, match=r"no fer2013new\.csv here; give the folder that holds it"):
        open_data(f"fer2013plus:{folder}", "train")
    (folder / "fer2013.csv").unlink()
    with pytest.raises(ValueError, match=r"no fer2013\.csv .*; give the folder that holds it"):
        open_data(f"fer2013:{folder}", "train")


FOLDERS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def folder_copy(root: Path, *tests: str) -> Path:
    """Write the folder copy with 10 training images a class and these test images."""
    names = [f"train/{name}/Training_{i}.jpg" for name in FOLDERS for i in range(10)]
    for number, name in enumerate([*names, *(f"test/{name}" for name in tests)]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(number)).save(root / name)
    return root


def test_the_folder_copy_is_parted_as_released_where_names_tell(tmp_path: Path) -> None:
    tests = [f"{name}/{usage}_0.jpg" for name in FOLDERS for usage in USAGES[1:]]
    root = folder_copy(tmp_path, *tests)
    (root / "train" / "angry" / ".DS_Store").write_text("x")
    release = read_fer2013(root)
    assert release.name == "fer2013"
    assert release.label_set is BASIC7
    assert len(release.split("train")) == 70
    validation, test = release.split("validation"), release.split("test")
    assert list(validation.ids) == [f"test/{name}/PublicTest_0.jpg" for name in FOLDERS]
    assert list(test.ids) == [f"test/{name}/PrivateTest_0.jpg" for name in FOLDERS]
    assert class_names(test) == [BASIC7.classes[BASIC7.index(name)] for name in FOLDERS]
    assert test.image(0).shape == (48, 48, 3)
    assert release.owners_names["test"] == "PrivateTest"
    assert [release.official[split]["total"] for split in SPLITS] == [28709, 3589, 3589]
    assert release.official["test"]["disgust"] == 55


@pytest.mark.parametrize("other", ["im0.png", "Training_0.jpg"])
def test_the_folder_copy_has_both_tests_in_one_where_names_do_not_tell(
    tmp_path: Path, other: str
) -> None:
    root = folder_copy(tmp_path, "sad/PublicTest_1.jpg", "sad/PrivateTest_2.jpg", f"happy/{other}")
    release = read_fer2013(root)
    assert len(release.split("test")) == 3
    validation = release.split("validation")
    assert validation.class_counts().tolist() == [1] * 7
    assert all(name.startswith("train/") for name in validation.ids)
    assert release.owners_names["test"] == "PublicTest + PrivateTest"
    assert release.official["test"] == {
        "total": 7178,
        **{"anger": 958, "disgust": 111, "fear": 1024, "happiness": 1774},
        **{"sadness": 1247, "surprise": 831, "neutral": 1233},
    }
    assert "validation" not in release.official
    train = release.split("train")
    assert "emodc data check" in str(train.notes["copies of test images in train"])


def test_a_folder_copy_of_other_folders_is_refused(tmp_path: Path) -> None:
    def refusal(given: Path) -> str:
        with pytest.raises(ValueError, match=r".") as caught:
            read_fer2013(given)
        return str(caught.value)

    root = folder_copy(tmp_path / "copy", "sad/im0.png")
    assert f"; give {root}: " in refusal(tmp_path)
    assert f"; give {root}: " in refusal(root / "train")
    (root / "test" / "contempt").mkdir()
    assert "the class folders are neutral, " in refusal(root)
    (root / "test" / "contempt").rename(root / "test" / "joy")
    assert "'joy' is no class" in refusal(root)
    (root / "test" / "joy").rmdir()


def test_the_released_file_goes_before_a_folder_copy_beside_it(folder: Path) -> None:
    folder_copy(folder, "sad/im0.png")
    assert len(read_fer2013(folder)) == len(ROWS)


def test_fer_plus_refuses_the_folder_copy(tmp_path: Path, folder: Path) -> None:
    root = folder_copy(tmp_path / "copy", "sad/im0.png")
    (root / "fer2013new.csv").write_bytes((folder / "fer2013new.csv").read_bytes())
    for name in ("fer2013plus", "fer2013plus8"):
        with pytest.raises(ValueError, match=r"folder copy .*has lost the order of the rows"):
            open_data(f"{name}:{root}", "train")


@pytest.mark.slow
@pytest.mark.skipif("EMODC_FER2013" not in os.environ, reason="EMODC_FER2013 names no folder")
def test_the_counts_of_the_released_files() -> None:
    folder = Path(os.environ["EMODC_FER2013"])
    rows = read_rows(folder)
    first, usage = rows["first"], rows["usage"]
    assert np.bincount(usage).tolist() == [28709, 3589, 3589]
    in_training = np.isin(first, first[usage == 0])
    assert int((in_training & (usage == 1)).sum()) == 280
    assert int((in_training & (usage == 2)).sum()) == 288

    release = read_fer2013(folder)
    for split, official in release.official.items():
        counts = np.bincount(release.labels[release.rows(split)])
        found = dict(zip(BASIC7.classes, counts.tolist(), strict=True))
        assert {"total": sum(found.values()), **found} == official

    parts = {
        split: open_data(f"fer2013plus:{folder}", split)
        for split in ("train", "validation", "test")
    }
    dropped = parts["train"].notes["dropped, also in validation or test"]
    assert isinstance(dropped, int)
    assert len(parts["train"]) + dropped == 24941
    assert len(parts["validation"]) == 3186
    assert len(parts["test"]) == 3137
    assert parts["test"].class_counts().tolist() == [1090, 893, 396, 384, 273, 18, 83]
    assert len(open_data(f"fer2013:{folder}", "test")) == 3589
    assert (
        open_data(f"fer2013:{folder}", "train").notes["dropped, also in validation or test"] == 703
    )

    with (folder / "fer2013new.csv").open(newline="") as stream:
        table = list(csv.reader(stream))
    index = parts["test"].ids.index("row35886")
    assert table[-1][2 + parts["test"].labels[index]] == max(table[-1][2:], key=int)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "valid", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "val", "eval")],
)
def test_a_folder_copy_with_a_validation_folder_is_taken_as_it_is(
    tmp_path: Path, train: str, validation: str, test: str
) -> None:
    root = folder_copy(tmp_path / "copy", "sad/im0.png")
    (root / "train").rename(root / train)
    (root / "test").rename(root / test)
    (root / validation / "sad").mkdir(parents=True)
    Image.fromarray(image(0)).save(root / validation / "sad" / "1.png")
    (root / "__MACOSX" / "train").mkdir(parents=True)
    release = read_fer2013(root)
    assert [len(release.split(split)) for split in SPLITS] == [70, 1, 1]
    assert release.skipped == {"__MACOSX": "left by an operating system"}


def test_folders_of_other_classes_are_no_copy_and_never_advised(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "test/cat/1.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True)
    folder_copy(tmp_path / "copy", "sad/im0.png")
    (tmp_path / "mine").mkdir()
    for wrong in (tmp_path / "pets", tmp_path / "mine"):
        with pytest.raises(ValueError, match=r"no fer2013\.csv") as caught:
            read_fer2013(wrong)
        assert str(tmp_path / "copy") not in str(caught.value)


def reordered(lines: list[str], header: str) -> list[str]:
    names = [name.strip(' "').lower() for name in header.split(",")]
    found = [header]
    for line in lines[1:]:
        cells = dict(zip(("emotion", "pixels", "usage"), line.split(","), strict=True))
        found.append(",".join(cells[name] for name in names))
    return found


@pytest.mark.parametrize("name", ["icml_face_data.csv", "icml_face_data.csv.gz", "fer2013.csv"])
@pytest.mark.parametrize("header", ["emotion, Usage, pixels", '"emotion","pixels","Usage"'])
def test_the_columns_may_stand_in_any_order(folder: Path, name: str, header: str) -> None:
    expected = open_data(f"fer2013plus:{folder}", "train")
    (folder / "fer2013.csv").unlink()
    write(folder / name, reordered(pixel_lines(), header))
    data = open_data(f"fer2013plus:{folder}", "train")
    assert data.fingerprint() == expected.fingerprint()
    np.testing.assert_array_equal(data.image(1), expected.image(1))


def test_train_csv_without_usage_is_the_training_split(folder: Path) -> None:
    (folder / "fer2013.csv").unlink()
    write(folder / "train.csv", reordered(pixel_lines(), "emotion,pixels"))
    release = read_fer2013(folder)
    assert len(release.rows("train")) == len(ROWS)
    with pytest.raises(ValueError, match=r"no test split: .*Training rows alone; take fer2013"):
        release.split("test")


@pytest.mark.parametrize(
    "vote", ["99999999999999999999", "9" * 5000, "1001", "-1", "1.5", "", "\u0663", "\x1b[2J"]
)
def test_votes_that_are_no_number_of_taggers_are_refused(folder: Path, vote: str) -> None:
    lines = vote_lines()
    lines[1] = f"Training,fer.png,{vote},0,0,0,9,1,0,0,0,0"
    write(folder / "fer2013new.csv", lines)
    with pytest.raises(ValueError, match=r"fer2013new\.csv, line 2: .*votes for neutral") as caught:
        open_data(f"fer2013plus:{folder}", "train")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_a_line_without_end_is_refused_before_it_fills_the_memory(folder: Path) -> None:
    (folder / "fer2013.csv").unlink()
    with gzip.open(folder / "fer2013.csv.gz", "wb") as file:
        file.write(f"{HEADER}\n0,".encode())
        for _ in range(64):
            file.write(b"0 " * (1 << 19))  # 64 MB of one line
    tracemalloc.start()
    with pytest.raises(ValueError, match="line 2: the line has more than 32,768 characters"):
        open_data(f"fer2013:{folder}", "train")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
