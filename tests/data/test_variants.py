import numpy as np
import pytest

from emodc.data import open_data, open_release
from emodc.data.variants import GROUP, SHORTCUTS

BASE = "synthetic:count=70,size=32"


@pytest.mark.parametrize("kind", SHORTCUTS)
def test_every_mark_is_seen_and_differs_from_the_others(kind: str) -> None:
    face = open_data(BASE, "train").image(3)
    before = face.copy()
    for image in (face, np.repeat(face[:, :, None], 3, axis=2)):
        marked = [SHORTCUTS[kind](image, mark, 7) for mark in range(7)]
        assert all(other.shape == image.shape and other.dtype == np.uint8 for other in marked)
        assert len({other.tobytes() for other in marked}) == 7
    assert np.array_equal(face, before)


def test_marks_go_with_the_class_as_often_as_is_asked() -> None:
    for strength, expected in ((1.0, 1.0), (0.9, 0.9 + 0.1 / 7), (0.0, 1 / 7)):
        data = open_data(f"shortcut:corner={strength}:synthetic:count=2100,size=16", "train")
        own = np.array(data.attributes[GROUP]) == "own class"
        assert own.mean() == pytest.approx(expected, abs=0.03)


def test_test_images_are_marked_as_is_asked() -> None:
    plain = open_data(BASE, "test")
    for test, share in (("aligned", 1.0), ("reversed", 0.0)):
        data = open_data(f"shortcut:corner=0.9,test={test}:{BASE}", "test")
        own = [group == "own class" for group in data.attributes[GROUP]]
        assert np.mean(own) == share
        for row in (0, 9):
            mark = (plain.labels[row] + (test == "reversed")) % 7
            assert np.array_equal(data.image(row), SHORTCUTS["corner"](plain.image(row), mark, 7))
    shuffled = open_data(f"shortcut:corner=0.9:{BASE}", "test")
    assert 0 < np.mean([group == "own class" for group in shuffled.attributes[GROUP]]) < 0.5


def test_marked_images_are_other_data() -> None:
    prints = {
        open_data(spec, "test").fingerprint()
        for spec in (BASE, f"shortcut:jpeg=0.9:{BASE}", f"shortcut:jpeg=0.9,test=aligned:{BASE}")
    }
    assert len(prints) == 3
    same = [open_data(f"shortcut:blur=0.5:{BASE}", "train").fingerprint() for _ in range(2)]
    assert same[0] == same[1]


def test_few_labels_keep_every_class_and_the_other_splits() -> None:
    whole = open_release("synthetic:count=700,size=16")
    few = open_release("few:0.02:synthetic:count=700,size=16")
    assert few.split("train").class_counts().tolist() == [2] * 7
    fewest = open_data("few:0.001:synthetic:count=700,size=16", "train")
    assert len(fewest) == 1
    for split in ("validation", "test"):
        assert list(few.split(split).ids) == list(whole.split(split).ids)
    assert set(few.split("train").ids) <= set(whole.split("train").ids)


def test_variants_of_variants() -> None:
    data = open_data(f"few:0.1:shortcut:corner=1:{BASE}", "train")
    assert len(data) == 7
    assert set(data.attributes[GROUP]) == {"own class"}


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (f"shortcut:frame=0.9:{BASE}", "unknown shortcut 'frame': corner, brightness"),
        (f"shortcut:corner:{BASE}", "'' is not a number"),
        (f"shortcut:corner=2:{BASE}", "from 0 to 1, not 2"),
        (f"shortcut:corner=nan:{BASE}", "from 0 to 1, not nan"),
        (f"shortcut:corner=0.9,test=upside:{BASE}", "test is aligned, shuffled, reversed"),
        ("shortcut:corner=0.9", "unknown dataset ''"),
        (f"few:0:{BASE}", "above 0 and at most 1"),
        (f"few:all:{BASE}", "'all' is not a number"),
        ("few", "needs a path"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        open_data(spec, "train")
