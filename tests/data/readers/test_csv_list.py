import json
import os
import time
from pathlib import Path

import pytest
from PIL import Image

from emodc.data import FaceData
from emodc.data.readers.csv_list import read_csv_list
from emodc.data.release import Release
from emodc.labels import BASIC7, COMPOUND11


def write(root: Path, *lines: str, end: str = "\n") -> Path:
    """Write a list and return its path; the images it names need not exist."""
    file = root / "faces.csv"
    file.write_bytes(end.join([*lines, ""]).encode())
    return file


def image(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 6), (200, 0, 0)).save(file)


def class_names(data: FaceData | Release) -> list[str]:
    return [data.label_set.classes[label] if label >= 0 else "" for label in data.labels]


def refusal(file: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_csv_list(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_list_of_all_columns(tmp_path: Path) -> None:
    image(tmp_path / "a" / "1.png")
    release = read_csv_list(
        write(
            tmp_path,
            "path,label,split,subject,attribute_gender,attribute_age group",
            "a/1.png,happy,train,S1,female,20-39",
            "a/2.png,Sadness,Validation,S2,,",
            "b/3.png,ANGRY,val,S2,male,",
            "b/4.png,,TEST,,male,70+",
            "b/5.png,happiness,test,,male,70+",
        )
    )
    assert release.name == "csv"
    assert release.ids == ["a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.png"]
    assert release.splits.tolist() == [0, 1, 1, 2, 2]
    assert release.label_set.classes == ("happiness", "sadness", "anger")
    assert class_names(release) == ["happiness", "sadness", "anger", "", "happiness"]
    assert release.attributes == {
        "gender": ["female", "", "male", "male", "male"],
        "age group": ["20-39", "", "", "70+", "70+"],
    }
    train = release.split("train")
    assert train.image(0).shape == (6, 4, 3)
    assert train.attributes["gender"] == ["female"]
    test = release.split("test")
    assert test.ids == ["b/5.png"]
    assert test.notes["rows without a label"] == 1


def test_without_a_split_column_everything_is_the_test_split(tmp_path: Path) -> None:
    release = read_csv_list(write(tmp_path, "label,path", "sad,1.png", "happy,2.png"))
    assert len(release.split("test")) == 2
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match=rf"no {split} split: .* no column 'split'.* add that"):
            release.split(split)


def test_a_split_without_rows_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label,split", "1.png,sad,train", "2.png,happy,train")
    with pytest.raises(ValueError, match=r"faces\.csv has no labeled row with the split 'test'"):
        read_csv_list(file).split("test")


def test_a_carved_validation_split_parts_no_subject(tmp_path: Path) -> None:
    rows = [
        f"{subject}-{number}.png,{label},train,S{subject}"
        for subject in range(20)
        for number, label in enumerate(["happy", "sad"])
    ]
    release = read_csv_list(write(tmp_path, "path,label,split,subject", *rows))
    subjects = [
        {name.partition("-")[0] for name in release.split(split).ids}
        for split in ("train", "validation")
    ]
    assert all(subjects)
    assert not subjects[0] & subjects[1]
    assert release.split("validation").notes["validation split"] == "10% of train by subject"


def test_images_of_unknown_subjects_are_not_taken_for_one_person(tmp_path: Path) -> None:
    rows = [f"{number}.png,{('happy', 'sad')[number % 2]},train," for number in range(40)]
    file = write(tmp_path, "path,label,split,subject", *rows, "x.png,sad,train,S1")
    assert len(read_csv_list(file).split("validation")) == 4
    file = write(tmp_path, "path,label,split,subject", *rows)
    notes = read_csv_list(file).split("validation").notes
    assert notes["validation split"] == "10% of train by name"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_spreadsheets_write_is_read_alike(tmp_path: Path, end: str) -> None:
    file = write(
        tmp_path,
        "\ufeffPath , Label,SPLIT",
        '"1, the first.png",happy,test',
        '2.png, "sad", test ',
        "größe/3.png,sad,test",
        "",
        ",,",
        "   ",
        end=end,
    )
    release = read_csv_list(file)
    assert release.ids == ["1, the first.png", "2.png", "größe/3.png"]
    assert class_names(release) == ["happiness", "sadness", "sadness"]


def test_compound_expressions_are_in_their_own_order(tmp_path: Path) -> None:
    names = [name.title().replace(" ", "_") for name in reversed(COMPOUND11.classes)]
    rows = [f"{number}.png,{name}" for number, name in enumerate(names)]
    assert read_csv_list(write(tmp_path, "path,label", *rows)).label_set is COMPOUND11
    mixed = read_csv_list(write(tmp_path, "path,label", *rows[:1], "x.png,contempt", "y.png,sad"))
    assert mixed.label_set.classes == ("sadness", "contempt", "disgustedly surprised")


def test_a_class_map_translates_labels_and_declares_the_label_set(tmp_path: Path) -> None:
    names = {str(code): name for code, name in enumerate(BASIC7.classes)}
    (tmp_path / "classes.json").write_text(json.dumps(names))
    file = write(tmp_path, "path,label", "1.png,3", "2.png,0", "3.png,")
    release = read_csv_list(file)
    assert release.label_set is BASIC7
    assert class_names(release) == ["sadness", "neutral", ""]
    file = write(tmp_path, "path,label", "1.png,3", "2.png,8")
    message = refusal(file)
    assert "faces.csv, line 3: " in message
    assert "classes.json has no class for the label '8'" in message

    (tmp_path / "classes.json").write_text('{"10": "calm", "9": "bored", "1": "Surprised"}')
    release = read_csv_list(write(tmp_path, "path,label", "1.png,10"))
    assert release.label_set.classes == ("surprise", "bored", "calm")
    assert class_names(release) == ["calm"]

    (tmp_path / "classes.json").write_text("{")
    assert "classes.json: not readable as JSON" in refusal(file)


def test_paths_are_relative_to_the_list_wherever_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "lists"
    image(root / "in.png")
    image(tmp_path / "out.png")
    image(tmp_path / "abs.png")
    file = write(
        root,
        "path,label",
        "./in.png,happy",
        "../out.png,sad",
        f"{tmp_path}/abs.png,sad",
        f"{root}/also.png,sad",
    )
    monkeypatch.chdir(root)
    for given in (file, Path("faces.csv"), Path("../lists/faces.csv")):
        release = read_csv_list(given)
        outside = tmp_path.as_posix()
        assert release.ids == ["in.png", f"{outside}/out.png", f"{outside}/abs.png", "also.png"]
        for index in range(3):
            assert release.reader(index).shape == (6, 4, 3)
        with pytest.raises(ValueError, match=r"also\.png: no such file"):
            release.reader(3)


def test_the_size_of_the_file_is_in_the_fingerprint(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label", "1.png,happy", "2.png,sad")
    missing = read_csv_list(file).split("test").fingerprint()
    (tmp_path / "1.png").write_bytes(b"12345")
    assert read_csv_list(file).split("test").fingerprint() != missing


@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        (1, "a/1.png,happy", "line 1: no column path and no column label in the header"),
        (1, "path,emotion", "no column label in the header 'path,emotion'; accepted columns"),
        (1, "path;label;split", "no column path and no column label in the header 'path;label;"),
        (1, "path,label,spilt", "unknown column 'spilt'; accepted are path, label and optionally"),
        (1, "path,label,age", "remove it or call it 'attribute_age'"),
        (1, "path,label,Label", "two columns 'label'"),
        (3, "2.png,sad", "line 3: 2 cells instead of 3 (path,label,split)"),
        (3, "a,b.png,sad,train", "4 cells instead of 3"),
        (3, ",sad,train", "the path is empty"),
        (3, "a\\2.png,sad,train", "backslashes; write the path with /"),
        (
            3,
            "2.png,sad,later",
            "unknown split 'later'; accepted are train, training, validation",
        ),
        (3, "2.png,sad,", "unknown split ''"),
        (3, "2.png,joyful,test", "'joyful' is no class; accepted are neutral, "),
        (3, "2.png,8,test", "'8' is no class"),
        (3, "1.png,sad,test", "'1.png' is listed already ("),
        (3, "./x/../1.png,sad,test", "'./x/../1.png' is listed already ("),
        (3, '"2.png,sad,test', "mend the quotes"),
        (3, '"2".png,sad,test', "mend the quotes"),
    ],
)
def test_a_malformed_line_is_refused_by_its_number(
    tmp_path: Path, line: int, text: str, says: str
) -> None:
    lines = ["path,label,split", "1.png,happy,train", "2.png,sad,train", "3.png,sad,test"]
    lines[line - 1] = text
    message = refusal(write(tmp_path, *lines))
    assert message.startswith(f"{tmp_path / 'faces.csv'}, line {line}: ")
    assert says in message


def test_a_line_is_counted_as_an_editor_counts_it(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label,subject", '1.png,sad,"two', 'lines"', "", "2.png,joy,")
    assert "faces.csv, line 5: 'joy' is no class" in refusal(file)


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "faces.csv"
    text = "path,label\n1.png,happy\ngröße.png,sad\n"
    for encoding, line in (("latin-1", 3), ("utf-16", 1), ("utf-16-le", 1)):
        file.write_bytes(text.encode(encoding))
        assert f"faces.csv, line {line}: not UTF-8 text" in refusal(file)


def test_files_that_are_no_list_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label", "1.png,happy", "2.png,sad")
    assert "a folder (it holds faces.csv); give the path of a CSV file" in refusal(tmp_path)
    assert "no such file; check the path" in refusal(tmp_path / "face.csv")
    for content in ("", "path,label\n", "path,label\n\n,\n"):
        file.write_text(content)
        assert "no row below the header" in refusal(file)
    write(tmp_path, "path,label", "1.png,happy", "2.png,")
    assert "faces.csv: 1 classes, but telling classes apart takes at least two" in refusal(file)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="times are for Linux")
def test_a_hundred_thousand_rows_open_in_time(tmp_path: Path) -> None:
    rows = [f"{n % 100}/{n}.png,{BASIC7.classes[n % 7]},train,S{n % 50},m" for n in range(100_000)]
    file = write(tmp_path, "path,label,split,subject,attribute_gender", *rows)
    before = time.process_time()
    assert len(read_csv_list(file)) == 100_000
    assert time.process_time() - before < 5
