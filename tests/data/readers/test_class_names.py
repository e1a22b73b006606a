import json
import os
from pathlib import Path

import pytest

from emodc.data.readers.class_names import ClassNames


def label(folder: Path, *written: str) -> tuple[tuple[str, ...], list[int]]:
    names = ClassNames.beside(folder, "label")
    found, labels = names.label(written, lambda index: f"row {index}", folder)
    return found.classes, labels.tolist()


def test_names_of_the_vocabulary_come_in_its_order(tmp_path: Path) -> None:
    assert label(tmp_path, "sad", "Happy", "", "sad") == (("happiness", "sadness"), [1, 0, -1, 1])


def test_names_of_which_none_is_known_stand_for_themselves(tmp_path: Path) -> None:
    assert label(tmp_path, "Bored", "calm", "", "bored") == (("bored", "calm"), [0, 1, -1, 0])
    assert label(tmp_path, "class 1", "label_2") == (("class 1", "label 2"), [0, 1])


@pytest.mark.parametrize("written", [("1", "2"), ("happy", "joyful"), ("calm", "7"), ("_", "-")])
def test_numbers_and_single_strangers_are_taken_for_mistakes(
    tmp_path: Path, written: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"is no class; accepted are .*classes\.json"):
        label(tmp_path, *written)


def test_a_class_map_goes_before(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps({"1": "calm", "2": "Bored", "9": "happy"}))
    assert label(tmp_path, "1", "2") == (("happiness", "calm", "bored"), [1, 2])
    with pytest.raises(ValueError, match="has no class for the label 'calm'"):
        label(tmp_path, "calm", "bored")


@pytest.mark.parametrize("keys", [("9" * 4000, "1" + "0" * 4000), ("x" * 5000, "y")])
def test_a_class_map_of_endless_names_is_read(tmp_path: Path, keys: tuple[str, str]) -> None:
    (tmp_path / "classes.json").write_text(json.dumps(dict(zip(keys, ("calm", "b"), strict=True))))
    assert label(tmp_path, *keys)[0] == ("calm", "b")


def test_a_class_map_that_is_a_device_or_a_pipe_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "classes.json"
    file.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"classes\.json: not a regular file"):
        label(tmp_path, "happy", "sad")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match=r"classes\.json: not a regular file"):
        label(tmp_path, "happy", "sad")
