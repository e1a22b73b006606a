import contextlib
import io
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from emodc.support.parsing import (
    MAX_DEPTH,
    MAX_SETTINGS_BYTES,
    MAX_YAML_BYTES,
    bounded_int,
    numbered_lines,
    open_regular,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_text,
    read_yaml,
)


def refusal(action: Callable[[], object]) -> str:
    """Return why something is refused: one line that can be printed."""
    with pytest.raises(ValueError, match=r".") as caught:
        action()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 700
    return message


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 50_000, "nested too deeply"),
        ('{"a":' * 50_000, "nested too deeply"),
        (nested(MAX_DEPTH + 2), f"more than {MAX_DEPTH} deep"),
        ("99999999999999999999", "more than 64 bits"),
        ("1" * 400, "more than 64 bits"),
        ("-" + "1" * 400, "more than 64 bits"),
        ("9" * 5000, "thousands of digits"),
        ("1e400", "not finite"),
        ("[NaN]", "not finite"),
        ("-Infinity", "not finite"),
        (r'{"\ud800": 1}', "lone surrogate"),
        ("", "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("\x1b[2J", "not readable as JSON"),
    ],
)
def test_bad_json_is_one_line_that_names_the_file(text: str, says: str) -> None:
    message = refusal(lambda: parse_json(text, "a\x1b.json"))
    assert message.startswith(r"a\x1b.json")
    assert says in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("!!int ''", "does not fit its tag"),
        ("!!bool foo", "does not fit its tag"),
        ("!!timestamp foo", "does not fit its tag"),
        ("!!float foo", "not readable as YAML"),
        ("!!binary x", "line 1, column 1"),
        ("[" * 3000, "nested too deeply"),
        ("? " * 3000, "nested too deeply"),
        ("2001-99-99", "month must be in"),
        ("2001-01-01", "holds a date, which must be written as text"),
        ("!!set {a}", "holds a set"),
        ("a: &a [*a]", f"more than {MAX_DEPTH} deep"),
        ("9" * 5000, "thousands of digits"),
        ("1" * 400, "more than 64 bits"),
        (".inf", "not finite"),
        ("a: [", "line 1, column 5"),
        ("? [a]\n: b", "unhashable key"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("\x07", "special characters"),
        ("*" + "x" * 5000, "undefined alias"),
    ],
)
def test_bad_yaml_is_one_line_that_names_the_file(text: str, says: str) -> None:
    message = refusal(lambda: parse_yaml(text, "recipe.yaml"))
    assert message.startswith("recipe.yaml: ")
    assert says in message


def test_aliases_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "more than 100,000 values" in refusal(lambda: parse_yaml("\n".join(lines), "x.yaml"))


@pytest.mark.parametrize("unit", ["a: b\n", "- [a, b]\n", "[", "{a: ", "a:\n ", "? ", "&a "])
def test_the_longest_yaml_ends_in_time(unit: str) -> None:
    before = time.process_time()
    with contextlib.suppress(ValueError):
        parse_yaml(unit * (MAX_YAML_BYTES // len(unit)), "x.yaml")
    assert time.process_time() - before < 10


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc1", max_size=3), inner),
    max_leaves=12,
)


@given(plain)
def test_plain_data_come_back(value: Any) -> None:
    assert parse_json(json.dumps(value), "x") == value
    assert parse_json(json.dumps(value).encode(), "x") == value


@settings(max_examples=50, deadline=None)
@given(plain)
def test_plain_data_come_back_from_yaml(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True), "x") == value


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text("[]{}:,-?!&*|>'\"%@`#\n 0a.", max_size=40))
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    for parse in (parse_json, parse_yaml):
        try:
            parse(text, "x")
        except ValueError as error:
            message = str(error)
            assert "\n" not in message
            assert "\x1b" not in message
            assert len(message) < 700


def test_only_regular_files_of_a_plausible_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, says in (
        ("pipe", "not a regular file"),
        ("zero.json", "not a regular file"),
        ("loop", "cannot be read"),
        ("missing", "no such file; check the path"),
        ("", "a folder, not a file"),
        ("x" * 300, "cannot be read"),
        ("a\0b", "cannot be read"),
        ("pipe/inner", "cannot be read"),
    ):
        for read in (open_regular, read_json, read_yaml, read_text):
            assert says in refusal(partial(read, tmp_path / name))
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_SETTINGS_BYTES + 1)
    for read in (read_json, read_yaml):
        assert "more than the" in refusal(partial(read, large))
    assert len(read_bytes(large, MAX_SETTINGS_BYTES + 1)) == MAX_SETTINGS_BYTES + 1


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "no permission to read it" in refusal(lambda: open_regular(tmp_path / "a"))


def test_text_is_utf_8_with_or_without_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa9"}')
    assert read_json(file) == {"a": "\u00e9"}
    for content in (b"{}\n\xff", '{}\n"x"'.encode("utf-16-le")):
        file.write_bytes(content)
        assert "not UTF-8 text" in refusal(lambda: read_json(file))


@given(st.binary(max_size=80), st.integers(1, 12))
def test_lines_are_numbered_and_no_longer_than_they_may(content: bytes, longest: int) -> None:
    lines = list(numbered_lines(io.BytesIO(content), longest))
    whole = content.splitlines(keepends=True) if b"\r" not in content else None
    if lines and not lines[-1][1]:
        assert max(map(len, content.split(b"\n"))) >= longest
    elif whole is not None:
        assert b"".join(line for _, line in lines) == content
    assert [number for number, _ in lines] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize("text", ["0", "-3", "007", "100", "-5"])
def test_whole_numbers_in_range_are_read(text: str) -> None:
    assert bounded_int(text, -5, 100) == int(text)


@pytest.mark.parametrize(
    "text", ["", "-", "101", "-6", "99999999999999999999", "9" * 9999, "1_0", "+1", "1.0", "\u0663"]
)
def test_other_numbers_are_refused(text: str) -> None:
    assert "is no whole number from -5 to 100" in refusal(lambda: bounded_int(text, -5, 100))
