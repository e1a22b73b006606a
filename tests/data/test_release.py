from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodc.data.release import Release
from emodc.data.validation_split import carve
from emodc.labels import BASIC7


def release(rows: int = 60, **changes: Any) -> Release:
    fields: dict[str, Any] = {
        "name": "made",
        "label_set": BASIC7,
        "ids": [f"p{i}" for i in range(rows)],
        "splits": np.array([0] * (rows - 10) + [2] * 10, dtype=np.int8),
        "labels": np.arange(rows) % 2,
        "reader": lambda index: np.full((2, 2), index, dtype=np.uint8),
        "stamp": str,
    }
    return Release(**(fields | changes))


def test_without_a_validation_split_a_tenth_of_train_is_set_aside() -> None:
    whole = release()
    train, validation, test = (whole.split(s) for s in ("train", "validation", "test"))
    assert [len(part) for part in (train, validation, test)] == [46, 4, 10]
    assert not set(train.ids) & set(validation.ids)
    assert validation.class_counts()[:2].tolist() == [2, 2]
    assert validation.notes["validation split"] == "10% of train by name"
    assert [int(test.image(i)[0, 0]) for i in range(10)] == list(range(50, 60))


def test_the_owners_validation_split_is_kept() -> None:
    splits = np.array([0] * 40 + [1] * 10 + [2] * 10, dtype=np.int8)
    whole = release(splits=splits)
    assert list(whole.split("validation").ids) == [f"p{i}" for i in range(40, 50)]
    assert len(whole.split("train")) == 40


def test_a_subject_is_never_on_both_sides() -> None:
    subjects = [f"S{i // 5}" for i in range(60)]
    whole = release(subjects=subjects)
    seen = [
        {subjects[int(name[1:])] for name in whole.split(part).ids}
        for part in ("train", "validation")
    ]
    assert seen[1]
    assert not seen[0] & seen[1]


def test_rows_without_label_and_copies_of_evaluated_images_are_left_out_and_counted() -> None:
    labels = np.arange(60) % 2
    labels[:5] = -1
    copied = np.zeros(60, dtype=bool)
    copied[3:8] = True
    train = release(labels=labels, copied=copied).split("train")
    assert train.notes["rows without a label"] == 5
    assert train.notes["dropped, also in validation or test"] == 3
    assert not {f"p{i}" for i in range(8)} & set(train.ids)


def test_a_split_without_labels_says_why() -> None:
    whole = release(labels=np.full(60, -1), absent={"test": "ask the owners"})
    with pytest.raises(ValueError, match="made: there is no test split: ask the owners"):
        whole.split("test")
    with pytest.raises(ValueError, match="there is no train split: none of its images"):
        whole.split("train")


def test_a_split_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="made: no split 'typo'; there are train, validation"):
        release().split("typo")


def test_a_image_listed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'p1' is listed twice"):
        release(ids=["p1", *(f"p{i}" for i in range(59))])


@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=60),
    people=st.integers(1, 30),
    share=st.floats(0.05, 0.5),
)
def test_carving_never_parts_a_key_nor_empties_a_class(
    labels: list[int], people: int, share: float
) -> None:
    array = np.array(labels)
    keys = [f"k{i % people}" for i in range(len(labels))]
    aside = carve(keys, array, share)
    assert {keys[i] for i in np.flatnonzero(aside)}.isdisjoint(
        keys[i] for i in np.flatnonzero(~aside)
    )
    assert set(array[~aside].tolist()) == set(labels)
    assert aside.tolist() == carve(keys, array, share).tolist()


def test_single_images_are_carved_to_the_share_of_each_class() -> None:
    labels = np.array([0] * 100 + [1] * 30 + [2])
    aside = carve([str(i) for i in range(131)], labels)
    assert np.bincount(labels[aside], minlength=3).tolist() == [10, 3, 0]
