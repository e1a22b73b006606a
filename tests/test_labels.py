from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodc.labels import (
    ADJECTIVES,
    ALIASES,
    BASIC7,
    BASIC8,
    COMPOUND11,
    LabelSet,
    canonical_name,
    label_set_of,
    prompt_text,
    prompt_texts,
)


def test_the_order_is_that_of_fer_plus() -> None:
    # Stored checkpoints and reports depend on it: it must never change.
    assert BASIC7.classes == (
        "neutral",
        "happiness",
        "surprise",
        "sadness",
        "anger",
        "disgust",
        "fear",
    )
    assert BASIC8.classes == (*BASIC7.classes, "contempt")


def test_every_alias_names_a_class_and_every_class_has_an_adjective() -> None:
    assert set(ALIASES.values()) <= set(BASIC8.classes)
    assert set(ADJECTIVES) == set(BASIC8.classes)


@given(st.sampled_from([*BASIC8.classes, *ALIASES]), st.sampled_from([str.upper, str.title]))
def test_a_canonical_name_is_found_in_any_spelling_and_stays_the_same(
    name: str, change: Callable[[str], str]
) -> None:
    found = canonical_name(f" {change(name)}\n")
    assert found in BASIC8.classes
    assert canonical_name(found) == found


def test_index_takes_aliases_and_lists_the_classes_when_there_is_none() -> None:
    assert BASIC7.index("Happy") == 1
    assert len(BASIC8) == 8
    with pytest.raises(ValueError, match=r"unknown class 'contempt'.*basic7.*neutral, happiness"):
        BASIC7.index("contempt")


@pytest.mark.parametrize("classes", [(), ("neutral",), ("fear", "anger", "fear")])
def test_a_label_set_needs_two_distinct_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="label set 'broken'"):
        LabelSet("broken", classes)


def test_a_known_order_is_recognized_by_its_names() -> None:
    assert label_set_of(name.title() for name in BASIC7.classes) is BASIC7
    assert label_set_of(BASIC8.classes) is BASIC8
    other = label_set_of(["sad", "happy"])
    assert (other.name, other.classes) == ("custom2", ("sadness", "happiness"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("happiness", "a photo of a happy face"),
        ("anger", "a photo of an angry face"),
        ("happily surprised", "a photo of a happily surprised face"),
        ("angrily disgusted", "a photo of an angrily disgusted face"),
        ("boredom", "a photo of a face showing boredom"),
    ],
)
def test_prompt_texts(name: str, text: str) -> None:
    assert prompt_text(name) == text


def test_compound_names_are_found_in_any_spelling() -> None:
    assert COMPOUND11.index("Fearfully_Surprised") == 7
    assert label_set_of(COMPOUND11.classes) is COMPOUND11


def test_prompt_texts_can_be_changed_by_name() -> None:
    texts = prompt_texts(BASIC7, {"Happy": "a grin", "non_class": "somebody"})
    assert len(texts) == len(BASIC7) + 2
    assert texts[1] == "a grin"
    assert texts[0] == "a photo of a neutral face"
    assert texts[-2:] == ["", "somebody"]
    with pytest.raises(ValueError, match="unknown name 'joyful': accepted are neutral"):
        prompt_texts(BASIC7, {"joyful": "?"})
