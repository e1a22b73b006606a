from typing import Any

import numpy as np
import pytest

from emodc.data import FaceData
from emodc.labels import BASIC7


def face_data(**changes: Any) -> FaceData:
    fields: dict[str, Any] = {
        "name": "made",
        "split": "test",
        "label_set": BASIC7,
        "labels": np.array([0, 6, 6], dtype=np.int64),
        "ids": ["a", "b", "c"],
        "reader": lambda index: np.full((2, 2), index, dtype=np.uint8),
        "stamp": lambda index: "abc"[index],
        "votes": np.eye(7, dtype=np.float32)[[0, 6, 6]],
    }
    return FaceData(**(fields | changes))


def test_class_counts_cover_classes_without_an_image() -> None:
    assert face_data().class_counts().tolist() == [1, 0, 0, 0, 0, 0, 2]


def test_a_subset_keeps_image_label_id_and_votes_together() -> None:
    data = face_data().subset(np.array([2, 0]))
    assert len(data) == 2
    assert data.labels.tolist() == [6, 0]
    assert list(data.ids) == ["c", "a"]
    assert [int(data.image(i)[0, 0]) for i in range(2)] == [2, 0]
    assert data.votes is not None
    assert data.votes.argmax(axis=1).tolist() == [6, 0]


def test_the_fingerprint_tells_evaluation_sets_apart() -> None:
    same, changed = face_data(), face_data(labels=np.array([0, 6, 5], dtype=np.int64))
    assert same.fingerprint() == face_data(notes={"rows": 3}).fingerprint()
    different = [
        changed,
        face_data(split="train"),
        face_data(ids=["a", "c", "b"]),
        face_data(stamp=lambda index: "abd"[index]),
        same.subset(np.array([0, 1])),
    ]
    assert same.fingerprint() not in {data.fingerprint() for data in different}


def test_empty_and_inconsistent_data_are_refused() -> None:
    with pytest.raises(ValueError, match="made: the test split is empty"):
        face_data(labels=np.array([], dtype=np.int64), ids=[])
    with pytest.raises(ValueError, match="2 ids for 3 labels"):
        face_data(ids=["a", "b"])


def test_it_describes_itself_in_one_line() -> None:
    text = repr(face_data())
    assert text.startswith("FaceData(made, test: 3 images; neutral 1, happiness 0, ")
    assert "fear 2" in text
