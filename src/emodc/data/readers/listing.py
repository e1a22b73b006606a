"""Datasets that are a list: a row an image, which names its file and its class."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emodc.data.readers.class_names import ClassNames, known_subjects
from emodc.data.release import Release, file_reader, file_stamp
from emodc.support.parsing import read_text
from emodc.support.text import printable

ATTRIBUTE = "attribute_"
"""What a column of attributes starts with: ``attribute_gender`` gives ``gender``."""

_MOST_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a list, as it is written.

    Attributes:
        place: file and line, for error messages.
        file: the image's path with ``/``, absolute or relative to ``folder``.
        folder: the folder that relative paths start from.
        split: position in `SPLITS`.
        label: what the class is called; empty where there is none.
        cells: the row, by column; `ATTRIBUTE` columns and ``subject`` are read from it.
    """

    place: str
    file: str
    folder: str
    split: int
    label: str
    cells: Mapping[str, str]


def release_of(
    name: str,
    source: Path,
    root: Path,
    entries: Sequence[Entry],
    names: ClassNames,
    *,
    absent: Mapping[str, str],
    unlisted: Sequence[str] = (),
) -> Release:
    """Return the images of a list.

    Args:
        name: the dataset's registered name.
        source: the list, for error messages.
        root: the folder that ids are relative to.
        entries: N rows, at least one.
        names: what the labels mean.
        absent: see `Release`.
        unlisted: see `Release`.

    Returns:
        Images as (H, W, 3) uint8 RGB of any size, read on demand. An id is the image's path,
        relative to ``root`` where it lies inside.

    Raises:
        ValueError: an empty path, one with backslashes, an image listed twice, or a label that
            stands for no class; the message names file and line.
    """
    ids, files = _ids_and_files(entries, root)
    label_set, labels = names.label(
        [entry.label for entry in entries], lambda index: entries[index].place, source
    )
    columns = dict.fromkeys(column for entry in entries for column in entry.cells)
    return Release(
        name=name,
        label_set=label_set,
        ids=ids,
        splits=np.array([entry.split for entry in entries], dtype=np.int8),
        labels=labels,
        reader=file_reader(files),
        stamp=file_stamp(files),
        subjects=known_subjects([entry.cells.get("subject", "") for entry in entries], ids),
        attributes={
            column.removeprefix(ATTRIBUTE): [entry.cells.get(column, "") for entry in entries]
            for column in columns
            if column.startswith(ATTRIBUTE)
        },
        unlisted=unlisted,
        absent=absent,
    )


def _ids_and_files(entries: Sequence[Entry], root: Path) -> tuple[list[str], list[Path]]:
    # As text, and without resolving links: a hundred thousand paths take a second.
    start = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118
    place_of: dict[str, str] = {}
    for entry in entries:
        path = _path_of(entry)
        if path in place_of:
            raise ValueError(
                f"{entry.place}: '{entry.file}' is listed already ({place_of[path]}); "
                "keep one of the two rows"
            )
        place_of[path] = entry.place
    ids = [printable(path.removeprefix(start).replace(os.sep, "/")) for path in place_of]
    return ids, [Path(path) for path in place_of]


def read_table(
    file: Path, check_header: Callable[[Sequence[str]], None]
) -> list[tuple[str, dict[str, str]]]:
    """Read a CSV file: comma-separated UTF-8, cells optionally quoted, any line ends.

    Args:
        file: the file; its line 1 names the columns.
        check_header: told the columns, in lower case, before any row is looked at; raises
            ValueError.

    Returns:
        Every row that is not blank: its place for error messages, and its cells by column, with
        white space around them removed.

    Raises:
        ValueError: the file is not readable, has no row or a column twice, or a row has a wrong
            number of cells; the message names file and line.
    """
    reader = csv.reader(
        io.StringIO(read_text(file), newline=""), strict=True, skipinitialspace=True
    )
    columns: list[str] = []
    rows: list[tuple[str, dict[str, str]]] = []
    while True:
        place = f"{file}, line {reader.line_num + 1}"
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            raise ValueError(f"{place}: {error}; mend the quotes of this line") from error
        if not columns:
            columns = [cell.lower() for cell in cells] or [""]
            if len(columns) > _MOST_COLUMNS:
                raise ValueError(f"{place}: {len(columns):,} columns, more than {_MOST_COLUMNS:,}")
            if twice := [cell for cell in columns if columns.count(cell) > 1]:
                raise ValueError(f"{place}: two columns '{twice[0]}'; rename or remove one")
            check_header(columns)
        elif not any(cells):
            continue
        elif len(cells) != len(columns):
            raise ValueError(
                f"{place}: {len(cells)} cells instead of {len(columns)} "
                f"({','.join(columns)[:200]}); a comma inside a cell needs quotes around the cell"
            )
        else:
            rows.append((place, dict(zip(columns, cells, strict=True))))
    if not rows:
        raise ValueError(f"{file}: no row below the header; list one image a line")
    return rows


def _path_of(entry: Entry) -> str:
    if not entry.file:
        raise ValueError(f"{entry.place}: the path is empty; write one or remove the row")
    if "\\" in entry.file:
        raise ValueError(f"{entry.place}: '{entry.file}' has backslashes; write the path with /")
    return os.path.abspath(os.path.join(entry.folder, entry.file))  # noqa: PTH100, PTH118
