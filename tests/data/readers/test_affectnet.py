import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emodc.data.readers.affectnet import CODES, COLUMNS, read_affectnet
from emodc.data.release import Release
from emodc.labels import BASIC7, BASIC8

HEADER = ",".join(COLUMNS)
LANDMARKS = ";".join(["12.5"] * 136)
BOX = (1, 2, 4, 6)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EMODC_CACHE", str(folder))
    return folder


def read(root: Path, classes: int = 8) -> Release:
    label_set = BASIC7 if classes == 7 else BASIC8
    return read_affectnet(root, name=f"affectnet{classes}", label_set=label_set)


def refused(root: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


def class_names(release: Release) -> list[str]:
    return ["" if k < 0 else release.label_set.classes[k] for k in release.labels]


# The CSV release.


def row(path: str, code: object, box: Sequence[object] = BOX) -> str:
    return f"{path},{','.join(map(str, box))},{LANDMARKS},{code},-0.5,0.25"


def image(file: Path) -> None:
    """Write 10x12 pixels whose red is the column and whose green is the row."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((12, 10, 3), dtype=np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = np.arange(10), np.arange(12)[:, None]
    Image.fromarray(pixels).save(file)


def csv_release(
    root: Path,
    training: Sequence[str],
    validation: Sequence[str] = (row("9/test.jpg", 0),),
    images: str = "Manually_Annotated_Images",
    lists: str = "",
) -> Path:
    (root / images).mkdir(parents=True)
    (root / lists).mkdir(parents=True, exist_ok=True)
    for name, rows in (("training", training), ("validation", validation)):
        (root / lists / f"{name}.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return root


@pytest.mark.parametrize("lists", ["", "Manually_Annotated_file_lists"])
@pytest.mark.parametrize(
    "images",
    ["Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images"],
)
def test_csv_codes_are_translated_and_the_owners_validation_is_test(
    tmp_path: Path, images: str, lists: str
) -> None:
    training = [row(f"{code}/a{code}.jpg", code) for code in range(11)]
    root = csv_release(tmp_path / "r", training, [row("9/b.jpg", 1)], images, lists)
    release = read(root)
    assert class_names(release)[:11] == [
        *("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"),
        *("", "", ""),
    ]
    assert list(release.ids)[::11] == [f"{images}/0/a0.jpg", f"{images}/9/b.jpg"]
    assert release.rows("train").tolist() == list(range(11))
    assert release.rows("test").tolist() == [11]
    assert release.owners_names["test"] == "validation"
    assert class_names(read(root, 7))[7] == ""
    assert release.split("test").notes["rows without a label"] == 0


def test_validation_is_carved_out_of_training_only(tmp_path: Path) -> None:
    training = [row(f"1/{number}.jpg", number % 2) for number in range(40)]
    release = read(csv_release(tmp_path / "r", training))
    parts = {split: set(release.split(split).ids) for split in ("train", "validation", "test")}
    assert {split: len(ids) for split, ids in parts.items()} == {
        **{"train": 36, "validation": 4, "test": 1}
    }
    assert not parts["train"] & parts["validation"]
    assert parts["test"] == {"Manually_Annotated_Images/9/test.jpg"}


def test_a_missing_header_costs_no_row(tmp_path: Path) -> None:
    root = csv_release(tmp_path / "r", [row("1/a.jpg", 3), row("1/b.jpg", 4)])
    for name in ("training.csv", "validation.csv"):
        lines = (root / name).read_text().splitlines()[1:]
        (root / name).write_text("\n".join(lines))
    assert class_names(read(root)) == ["surprise", "fear", "neutral"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("header", [True, False])
def test_windows_line_ends_byte_order_mark_and_blank_lines(
    tmp_path: Path, mark: bytes, header: bool
) -> None:
    root = csv_release(tmp_path / "r", [])
    lines = [*([HEADER] if header else []), row("1/a.jpg", 3), row("1/b.jpg", 10), "", ""]
    (root / "training.csv").write_bytes(mark + "\r\n".join(lines).encode())
    release = read(root)
    assert class_names(release) == ["surprise", "", "neutral"]
    assert release.ids[0] == "Manually_Annotated_Images/1/a.jpg"


def test_the_box_is_cut_out_of_the_image(tmp_path: Path) -> None:
    boxes = [(1, 2, 4, 6), (-3, -1, 5, 4), (8, 9, 100, 100), (0, 0, 10, 12)]
    training = [row(f"1/{i}.png", 0, box) for i, box in enumerate(boxes)]
    release = read(csv_release(tmp_path / "r", training))
    for name in release.ids:
        image(tmp_path / "r" / name)
    crops = [release.reader(index) for index in range(len(boxes))]
    assert [crop.shape for crop in crops] == [(6, 4, 3), (3, 2, 3), (3, 2, 3), (12, 10, 3)]
    assert [crop[0, 0, :2].tolist() for crop in crops] == [[1, 2], [0, 0], [8, 9], [0, 0]]
    assert [crop[-1, -1, :2].tolist() for crop in crops] == [[4, 7], [1, 2], [9, 11], [9, 11]]
    assert all(crop.dtype == np.uint8 and crop.flags.c_contiguous for crop in crops)


@pytest.mark.parametrize("box", [(10, 0, 4, 4), (0, 12, 4, 4), (-9, 0, 9, 4), (1, 1, 0, 4)])
def test_a_box_that_misses_the_image_names_the_file(
    tmp_path: Path, box: tuple[int, int, int, int]
) -> None:
    release = read(csv_release(tmp_path / "r", [row("1/a.png", 0, box)]))
    image(tmp_path / "r" / release.ids[0])
    with pytest.raises(ValueError, match=r"1/a\.png: the box x=.* misses the image.*10x12"):
        release.reader(0)


def test_a_missing_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    release = read(csv_release(tmp_path / "r", [row("1/gone.jpg", 0)]))
    with pytest.raises(ValueError, match=r"1/gone\.jpg: no such file"):
        release.reader(0)


def test_the_stamp_tells_file_and_box(tmp_path: Path) -> None:
    def stamp(box: tuple[int, ...]) -> str:
        (tmp_path / "r" / "training.csv").write_text(row("1/a.jpg", 0, box))
        return read(tmp_path / "r").stamp(0)

    csv_release(tmp_path / "r", [])
    missing = stamp(BOX)
    file = tmp_path / "r" / "Manually_Annotated_Images" / "1" / "a.jpg"
    file.parent.mkdir()
    file.write_bytes(b"12345")
    stamps = {missing, stamp(BOX), stamp((1, 2, 4, 7))}
    assert len(stamps) == 3
    assert "missing" in missing
    assert stamp(BOX) in stamps


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("1/b.jpg", 11), r"line 3: expression '11' instead of 0 to 10; restore"),
        (row("1/b.jpg", "happy"), r"line 3: expression 'happy' instead of 0 to 10"),
        (row("1/b.jpg", ""), r"line 3: expression '' instead of 0 to 10"),
        ("1/b.jpg,1,2,3,4," + LANDMARKS, r"line 3: 6 columns instead of 9"),
        ("1/b.jpg", r"line 3: 1 columns instead of 9"),
        (row("1/b.jpg", 0, (1, 2, "x", 4)), r"line 3: the box '1,2,x,4', not 4 whole numbers"),
        (row("1/b.jpg", 0, (1, 2, "", 4)), r"line 3: the box '1,2,,4', not 4 whole numbers"),
        (row("", 0), r"line 3: the path '' instead of one such as 1/0a1b\.jpg"),
        (row("1\\b.jpg", 0), r"line 3: the path '1\\b\.jpg' instead of one such as"),
        (row("1/a.jpg", 5), r"line 3: '1/a\.jpg' is in training\.csv, line 2, already"),
    ],
)
def test_a_malformed_row_is_refused(tmp_path: Path, bad: str, message: str) -> None:
    root = csv_release(tmp_path / "r", [row("1/a.jpg", 0), bad, row("1/c.jpg", 0)])
    with pytest.raises(ValueError, match=r"training\.csv, " + message):
        read(root)


def test_a_image_in_both_lists_is_refused(tmp_path: Path) -> None:
    root = csv_release(tmp_path / "r", [row("1/a.jpg", 0)], [row("1/a.jpg", 0)])
    assert "validation.csv, line 2: '1/a.jpg' is in training.csv, line 2, already" in refused(root)


def test_another_header_and_an_empty_list_are_refused(tmp_path: Path) -> None:
    root = csv_release(tmp_path / "r", [row("1/a.jpg", 0)])
    (root / "validation.csv").write_text(HEADER + "\n\n")
    assert "validation.csv: has no row" in refused(root)
    columns = [COLUMNS[0], *COLUMNS[:0:-1]]
    (root / "training.csv").write_text(",".join(columns) + "\n")
    assert f"training.csv, line 1: the header is not {HEADER}" in refused(root)


# The npy release.


def npy_release(root: Path, train: Sequence[object], val: Sequence[object] = ("0",)) -> Path:
    for folder, codes in (("train_set", train), ("val_set", val)):
        for part in ("images", "annotations"):
            (root / folder / part).mkdir(parents=True)
        for number, code in enumerate(codes):
            annotation(root / folder, number, np.array(code))
            for other in ("val", "aro", "lnd"):
                np.save(root / folder / "annotations" / f"{number}_{other}.npy", np.array("0.5"))
            Image.new("RGB", (4, 6), (number, 0, 0)).save(
                root / folder / "images" / f"{number}.jpg"
            )
    return root


def annotation(folder: Path, number: int, value: object) -> None:
    np.save(folder / "annotations" / f"{number}_exp.npy", np.asarray(value), allow_pickle=True)


KINDS: list[Callable[[int], object]] = [str, int, np.uint8, lambda code: [str(code)]]


@pytest.mark.parametrize("kind", KINDS)
def test_npy_labels_are_read_in_every_form(tmp_path: Path, kind: Callable[[int], object]) -> None:
    root = npy_release(tmp_path / "r", [kind(code) for code in range(11)], [kind(1)])
    release = read(root)
    assert class_names(release) == [*CODES, "", "", "", "happiness"]
    assert class_names(read(root, 7)) == [*CODES[:7], "", "", "", "", "happiness"]
    assert list(release.ids)[9:] == [
        *("train_set/images/9.jpg", "train_set/images/10.jpg", "val_set/images/0.jpg")
    ]
    assert release.rows("test").tolist() == [11]
    assert release.reader(10).shape == (6, 4, 3)
    assert release.stamp(10).isdigit()
    assert not release.unlisted


def test_npy_labels_are_read_once(tmp_path: Path, cache: Path) -> None:
    root = npy_release(tmp_path / "r", ["3", "4"])
    first = read(root)
    assert len(list((cache / "affectnet").iterdir())) == 2
    folder = root / "train_set" / "annotations"
    for file in folder.glob("*_exp.npy"):
        file.write_bytes(b"would be refused")  # does not change the folder itself
    assert read(root).labels.tolist() == first.labels.tolist()
    assert class_names(read(root, 7)) == ["surprise", "fear", "neutral"]
    os.utime(folder, (1, 1))
    assert "0_exp.npy: not a code" in refused(root)


def test_a_new_annotation_is_noticed(tmp_path: Path) -> None:
    root = npy_release(tmp_path / "r", ["3", "4"])
    read(root)
    annotation(root / "train_set", 2, np.array("6"))
    release = read(root)
    assert class_names(release) == ["surprise", "fear", "anger", "neutral"]
    with pytest.raises(ValueError, match=r"images/2\.jpg: no such file"):
        release.reader(2)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("11", "holds '11'"),
        ("happy", "holds 'happy'"),
        ("", "holds ''"),
        (-1, "holds '-1'"),
        (3.0, r"not the header of an array of one"),
        (["1", "2"], r"not the header of an array of one"),
    ],
)
def test_a_wrong_label_names_its_file(tmp_path: Path, value: object, found: str) -> None:
    root = npy_release(tmp_path / "r", ["1", value])
    with pytest.raises(ValueError, match=rf"1_exp\.npy: not a code 0 to 10.*{found}.*restore"):
        read(root)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"3", b"\x93NUMPY\x01\x00v\x00{'descr'", b"\x93NUMPY\x02\x00" + b"v" * 900),
        b"\x93NUMPY\x01\x00v\x00{'descr': '<U1', 'fortran_order': False, 'shape': (, }\n1\0\0\0",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<i3', 'fortran_order': False, 'shape': (), }\n1\0\0\0",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<U99', 'fortran_order': False, 'shape': (), }\n1\0",
        b"\x93NUMPY\x01\x00\xff\xff{'descr': '<U1', 'fortran_order': False, 'shape': (), }\n1\0",
        b"\x93NUMPY\x01\x00v\x00" + b"[" * 900,
    ],
)
def test_a_damaged_label_names_its_file(tmp_path: Path, content: bytes) -> None:
    root = npy_release(tmp_path / "r", ["1", "2"])
    (root / "train_set" / "annotations" / "1_exp.npy").write_bytes(content)
    assert "1_exp.npy: not a code 0 to 10 in npy format" in refused(root)


def test_a_label_without_its_end_names_its_file(tmp_path: Path) -> None:
    root = npy_release(tmp_path / "r", ["1", "10"])
    file = root / "train_set" / "annotations" / "1_exp.npy"
    file.write_bytes(file.read_bytes()[:-4])
    assert "1_exp.npy: not a code 0 to 10 in npy format" in refused(root)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    root = npy_release(tmp_path / "r", ["1", "2"])
    touched = tmp_path / "touched"
    annotation(root / "train_set", 0, np.array(Trap(touched), dtype=object))
    assert "0_exp.npy: not a code 0 to 10 in npy format" in refused(root)
    (root / "train_set" / "annotations" / "0_exp.npy").write_bytes(pickle.dumps(Trap(touched)))
    assert "0_exp.npy: not a code 0 to 10 in npy format" in refused(root)
    assert not touched.exists()


def test_images_without_annotation_are_listed_and_other_files_ignored(tmp_path: Path) -> None:
    root = npy_release(tmp_path / "r", ["1", "2"])
    images = root / "train_set" / "images"
    for name in ("7.jpg", "1.png", ".DS_Store", "._1.jpg", "Thumbs.db", "notes.txt"):
        (images / name).write_bytes(b"x")
    (root / "train_set" / "annotations" / "._1_exp.npy").write_bytes(b"x")
    release = read(root)
    assert sorted(release.unlisted) == ["train_set/images/1.png", "train_set/images/7.jpg"]
    assert len(release) == 3


def test_images_of_other_formats_are_found(tmp_path: Path) -> None:
    root = npy_release(tmp_path / "r", ["1", "2"])
    images = root / "train_set" / "images"
    (images / "1.jpg").rename(images / "1.PNG")
    assert list(read(root).ids)[:2] == ["train_set/images/0.jpg", "train_set/images/1.PNG"]


def test_sets_without_labels_are_refused(tmp_path: Path) -> None:
    root = npy_release(tmp_path / "r", ["1"])
    (root / "val_set" / "annotations" / "0_exp.npy").unlink()
    assert "val_set/annotations: holds no *_exp.npy" in refused(root)


# Both.


def test_the_published_counts_are_those_of_the_layout(tmp_path: Path) -> None:
    csv = read(csv_release(tmp_path / "c", [row("1/a.jpg", 0)])).official
    npy = read(npy_release(tmp_path / "n", ["0"])).official
    seven = read(tmp_path / "n", 7).official
    assert csv["train"]["total"] == 414_799
    assert sum(csv["train"].values()) - 414_799 == 287_651 == npy["train"]["total"]
    assert sum(seven["train"].values()) - 287_651 == 283_901
    assert csv["test"] == {"total": 5_500, **dict.fromkeys(CODES, 500)}
    assert npy["test"] == {"total": 3_999, **dict.fromkeys(CODES, 500), "contempt": 499}
    assert seven["test"] == {"total": 3_999, **dict.fromkeys(CODES[:7], 500)}


def test_a_wrong_root_is_told_which_is_right(tmp_path: Path) -> None:
    npy = npy_release(tmp_path / "up" / "npy", ["0"])
    assert refused(npy.parent).endswith(f"; give {npy}")
    assert refused(npy / "train_set").endswith(f"; give {npy}")
    csv = csv_release(tmp_path / "above" / "csv", [row("1/a.jpg", 0)])
    assert refused(csv.parent).endswith(f"; give {csv}")
    assert refused(csv / "Manually_Annotated_Images").endswith(f"; give {csv}")
    expected = "expected Manually_Annotated_Images with training.csv and validation.csv"
    assert f"holds nothing of AffectNet; {expected}" in refused(csv.parent)
    assert f"{tmp_path / 'none'}: no such folder; {expected}" in refused(tmp_path / "none")


def test_half_a_release_is_refused_with_what_was_found(tmp_path: Path) -> None:
    csv = csv_release(tmp_path / "csv", [row("1/a.jpg", 0)])
    (csv / "validation.csv").unlink()
    assert "holds Manually_Annotated_Images and training.csv; expected" in refused(csv)
    npy = npy_release(tmp_path / "npy", ["0"])
    (npy / "val_set").rename(npy / "other")
    assert "holds train_set; expected" in refused(npy)


def test_two_releases_in_one_folder_are_refused(tmp_path: Path) -> None:
    root = csv_release(tmp_path / "r", [row("1/a.jpg", 0)])
    npy_release(root, ["0"])
    assert "holds both the CSV and the npy release" in refused(root)
