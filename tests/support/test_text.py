import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodc.support.text import printable, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\u202egnp.exe\u2066\u200f", r"\u202egnp.exe\u2066\u200f"),
        ("\x9b31m\x7f\u2028", r"\x9b31m\x7f\u2028"),
        (os.fsdecode(b"\xff.png"), r"\xff.png"),
        ("\ud800", r"\ud800"),
        ("Bildschirmfoto 3.14\u202fPM \u00e9\u4e2d\U0001f600.png", None),
        (r"C:\new", None),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str | None) -> None:
    assert printable(text) == (text if shown is None else shown)


@given(st.text())
def test_what_is_printed_can_be_encoded_and_stays(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert printable(shown) == shown


@given(st.text(min_size=100, max_size=3000))
def test_a_long_text_keeps_its_ends(text: str) -> None:
    short = shortened(text, 90)
    assert len(short) < 140
    assert short.startswith(text[:50])
    assert short.endswith(text[-20:])
    assert shortened(text, len(text)) == text
