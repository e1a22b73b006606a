"""File name patterns: ``*``, ``?``, ``[...]`` and ``**`` for folders at any depth."""

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from emodc.faces.listing import is_ignored, natural_key

_MAGIC = re.compile(r"[*?\[]")


def is_pattern(text: str) -> bool:
    """Tell whether a path has one of the characters that make it a pattern."""
    return _MAGIC.search(text) is not None


def matching_files(pattern: str) -> list[Path]:
    """Return the files that a pattern stands for, in natural order, each once.

    Hidden files and what operating systems leave are matched only by a part that starts like them.
    ``**`` does not follow links to folders, so that a loop of links ends.

    Args:
        pattern: such as ``photos/**/*.jpg``; folders that cannot be listed match nothing.
    """
    path = Path(pattern)
    start = Path(path.anchor)
    parts = list(path.parts[1:] if path.anchor else path.parts)
    # ``**/**`` means no more than ``**``, and takes the square of its time.
    parts = [part for i, part in enumerate(parts) if part != "**" or parts[i - 1 : i] != ["**"]]
    found = {file for file in _expand(start, parts) if file.is_file()}
    return sorted(found, key=lambda file: natural_key(str(file)))


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    if not parts:
        yield folder
        return
    part, rest = parts[0], parts[1:]
    if not is_pattern(part):
        yield from _expand(folder / part, rest)
        return
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except (OSError, ValueError):  # ValueError: a null character
        return
    if part == "**":
        yield from _expand(folder, rest)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not is_ignored(entry.name):
                yield from _expand(folder / entry.name, parts)
            elif not rest:
                yield folder / entry.name
        return
    matches = re.compile(translate(part)).match
    for entry in entries:
        if matches(entry.name) and (part[0] == entry.name[0] or not is_ignored(entry.name)):
            yield from _expand(folder / entry.name, rest)
