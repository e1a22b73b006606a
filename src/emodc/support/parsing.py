"""Reading files that others wrote: whatever they hold, a value or a `ValueError` of one line.

A file is opened only if it is a regular one, so that no pipe blocks and no device feeds without
end, and only if its size is plausible, so that nothing huge is allocated. `read_json` and
`read_yaml` return plain data of bounded depth and size.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from emodc.support.files import one_line
from emodc.support.text import printable, shortened

MAX_SETTINGS_BYTES = 1 << 20
"""Size of the largest JSON file of settings, in bytes."""

MAX_YAML_BYTES = 1 << 16
"""Size of the largest YAML file, in bytes: PyYAML reads 50,000 in a second."""

MAX_TEXT_BYTES = 1 << 27
"""Size of the largest text file that is held in memory, in bytes."""

MAX_DEPTH = 64
"""How deep lists and objects may be nested."""

_JSON_VALUES = 5_000_000
_YAML_VALUES = 100_000  # whose aliases can make a short file stand for more than memory holds
_LEAST, _MOST = -(2**63), 2**64 - 1


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe, a device or a folder is refused and not waited for.

    Raises:
        ValueError: there is no such file, it is not a regular one, or it may not be read. The
            message is one line and names the file.
    """
    name = printable(str(path))
    # Not `Path.is_file` first: what is opened is what is looked at, and a pipe does not block.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError as error:
        raise ValueError(f"{name}: no such file; check the path") from error
    except PermissionError as error:
        if path.is_dir():  # as Windows answers
            raise ValueError(f"{name}: a folder, not a file; name a file inside it") from error
        raise ValueError(f"{name}: no permission to read it; change its access rights") from error
    except (OSError, ValueError) as error:  # ValueError: the name holds a null character
        reason = getattr(error, "strerror", None) or one_line(error)
        raise ValueError(f"{shortened(name, 300)}: cannot be read ({reason})") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise ValueError(f"{name}: a folder, not a file; name a file inside it")
        raise ValueError(f"{name}: not a regular file; give a file that lies on a disk")
    return os.fdopen(handle, "rb")


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        limit: the largest size in bytes.

    Raises:
        ValueError: it cannot be read or is larger; the message is one line and names the file.
    """
    with open_regular(path) as file:
        size = size_of(file)
        if size > limit:
            raise ValueError(
                f"{printable(str(path))}: has {size:,} bytes, more than the {limit:,} that such a "
                "file may have; give another file"
            )
        try:
            return file.read(size)
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise ValueError(f"{printable(str(path))}: cannot be read ({reason})") from error


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """Return a text file's content without a byte order mark.

    Args:
        path: the file.
        limit: the largest size in bytes.

    Raises:
        ValueError: it cannot be read, is larger, or is not UTF-8 text; the message names the
            file, and the line.
    """
    content = read_bytes(path, limit)
    # UTF-16 without a mark passes for UTF-8 as long as it is English.
    bad = content.find(b"\0")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text, bad = "", error.start if bad < 0 else min(bad, error.start)
    if bad >= 0:
        line = content.count(b"\n", 0, bad) + 1
        raise ValueError(
            f"{printable(str(path))}, line {line}: not UTF-8 text; save the file as UTF-8"
        )
    return text


def numbered_lines(file: BinaryIO, longest: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of an open file, counted from 1, with their ends, holding one at a time.

    Args:
        file: what is read; of a compressed file, what decompresses it.
        longest: the longest line, in bytes. A longer one is yielded as an empty one, ``b""``, and
            ends the iteration: the caller knows its number and refuses it.
    """
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        if len(line) > longest:
            yield number, b""
            return
        yield number, line


def read_json(path: Path, limit: int = MAX_SETTINGS_BYTES) -> Any:
    """Return what a JSON file holds.

    Args:
        path: the file.
        limit: the largest size in bytes.

    Raises:
        ValueError: it cannot be read or is larger, or as for `parse_json`.
    """
    return parse_json(read_text(path, limit), str(path))


def parse_json(text: str | bytes, source: str) -> Any:
    """Return what a JSON text holds.

    Args:
        text: the text.
        source: names it in error messages.

    Returns:
        Plain data, nested at most `MAX_DEPTH` deep, of finite numbers; whole ones have 64 bits.

    Raises:
        ValueError: it is not JSON, or holds something else. The message is one line.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{printable(source)}: not readable as JSON ({_why(error)})") from error
    return _plain(value, source, _JSON_VALUES)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: it cannot be read or is larger than `MAX_YAML_BYTES`, or as for `parse_yaml`.
    """
    return parse_yaml(read_text(path, MAX_YAML_BYTES), str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Return what a YAML text holds: what JSON could hold, and keys that are numbers.

    Args:
        text: the text.
        source: names it in error messages.

    Returns:
        As `parse_json`.

    Raises:
        ValueError: it is not YAML, or holds something else, such as a date. The message is one
            line.
    """
    try:
        value = yaml.safe_load(text)
    # PyYAML's constructors raise whatever they meet: ``!!int ''`` an IndexError, ``!!bool x`` a
    # KeyError, ``!!timestamp x`` an AttributeError, ``2001-99-99`` a ValueError.
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise ValueError(f"{printable(source)}: not readable as YAML ({_why(error)})") from error
    return _plain(value, source, _YAML_VALUES)


def bounded_int(text: str, low: int, high: int) -> int:
    """Return the whole number that a text states in decimal digits.

    Args:
        text: of any length: no more digits are read than ``high`` and ``low`` have.
        low: the least value.
        high: the largest.

    Raises:
        ValueError: it states none, or one out of range.
    """
    digits = text.removeprefix("-")
    longest = max(len(str(abs(low))), len(str(abs(high))))
    if digits.isascii() and digits.isdigit() and len(digits) <= longest:
        value = int(text)
        if low <= value <= high:
            return value
    raise ValueError(
        f"'{shortened(printable(text), 80)}' is no whole number from {low} to {high:,}"
    )


def _why(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if "integer string conversion" in str(error):
        return "a number has thousands of digits"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        problem = shortened(one_line(error.problem or "malformed"), 200)
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    if isinstance(error, ValueError | yaml.YAMLError):
        return shortened(one_line(error), 300)
    return "a value does not fit its tag"


def _plain(value: Any, source: str, most: int) -> Any:
    """Return the value if it is plain data of bounded size; not recursive, as the data may be."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    seen = 0
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        if problem := f"holds more than {most:,} values" if seen > most else _problem(item, depth):
            raise ValueError(f"{printable(source)}: {problem}")
        if isinstance(item, dict):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]
    return value


def _problem(item: Any, depth: int) -> str:
    if depth > MAX_DEPTH:
        return f"nested more than {MAX_DEPTH} deep"
    if isinstance(item, int) and not _LEAST <= item <= _MOST:
        return "holds a whole number of more than 64 bits"
    if isinstance(item, float) and not math.isfinite(item):
        return "holds a number that is not finite"
    if isinstance(item, str) and not item.isascii() and _has_surrogate(item):
        return "holds half a character (a lone surrogate)"
    if item is None or isinstance(item, str | int | float | dict | list):
        return ""
    return f"holds a {type(item).__name__}, which must be written as text, in quotes"


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
