"""Tables written row by row: CSV, Parquet and JSON. Nothing but the row at hand is in memory.

Parquet (extra ``tables``) comes in groups of rows, each of which is written when it is full.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

from emodc.support.files import whole_file
from emodc.support.optional import importing

_GROUP = 20_000  # rows of a Parquet file that are written together
_DIGITS = 6  # behind the point, in CSV


class Rows(Protocol):
    """Takes rows, one after the other."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row, its values by column."""

    def close(self) -> None:
        """Write what is left."""


class CsvRows:
    """Writes CSV, with a header.

    Args:
        stream: where to; each row is there at once.
        columns: in order.
    """

    def __init__(self, stream: TextIO, columns: Mapping[str, type]) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        self._columns = list(columns)
        self._writer.writerow(self._columns)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row; fractions are rounded to six digits."""
        values = [row[name] for name in self._columns]
        self._writer.writerow([round(v, _DIGITS) if isinstance(v, float) else v for v in values])
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: every row is written."""


class JsonRows:
    """Writes a JSON list of objects, which need not be flat.

    Args:
        stream: where to. Nothing is written before the first row, or the end.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._before = "[\n"

    def write(self, row: Mapping[str, Any]) -> None:
        """Write an object, indented."""
        text = json.dumps(row, indent=2, allow_nan=False)
        self.stream.write(self._before + "\n".join(f"  {line}" for line in text.splitlines()))
        self._before = ",\n"

    def close(self) -> None:
        """End the list."""
        self.stream.write("[]\n" if self._before == "[\n" else "\n]\n")


class ParquetRows:
    """Writes Parquet.

    Args:
        stream: where to.
        columns: in order, with what they hold: str, int or float; any value may be missing.

    Raises:
        ImportError: the extra ``tables`` is not installed.
    """

    def __init__(self, stream: BinaryIO, columns: Mapping[str, type]) -> None:
        require_parquet()
        import pyarrow
        from pyarrow import parquet

        kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
        self._schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
        self._writer = parquet.ParquetWriter(stream, self._schema)
        self._waiting: list[Mapping[str, Any]] = []

    def write(self, row: Mapping[str, Any]) -> None:
        """Take a row; it is in the file once its group is full, or at the end."""
        self._waiting.append(row)
        if len(self._waiting) == _GROUP:
            self._flush()

    def close(self) -> None:
        """Write the last group and the end of the file."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        if self._waiting:
            self._writer.write_table(pyarrow.Table.from_pylist(self._waiting, self._schema))
        self._waiting = []


def require_parquet() -> None:
    """Refuse now what would fail later: Parquet cannot be written without pyarrow.

    Raises:
        ImportError: the extra ``tables`` is not installed.
    """
    with importing("tables", "writing Parquet"):
        import pyarrow  # noqa: F401


@contextmanager
def rows_file(path: Path, columns: Mapping[str, type]) -> Iterator[Rows]:
    """Open a table that appears under its name when the block ends.

    Args:
        path: its suffix says the format: .csv, .json or .parquet.
        columns: as for `CsvRows` and `ParquetRows`.

    Raises:
        ValueError: another suffix.
        OSError: the file cannot be written.
        ImportError: as for `ParquetRows`.
    """
    kind = check_suffix(path, (".csv", ".json", ".parquet"))
    with ExitStack() as stack:
        file = stack.enter_context(whole_file(path))
        rows: Rows
        if kind == ".parquet":
            rows = ParquetRows(file, columns)
        else:
            text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
            stack.callback(text.detach)
            stack.callback(text.flush)
            rows = CsvRows(text, columns) if kind == ".csv" else JsonRows(text)
        stack.callback(rows.close)  # before the file is, whatever happens
        yield rows


def check_suffix(path: Path, known: tuple[str, ...]) -> str:
    """Return a file's suffix in lower case.

    Raises:
        ValueError: it is none of those that are known.
    """
    if (kind := path.suffix.lower()) not in known:
        raise ValueError(f"{path}: the name of this output must end with {' or '.join(known)}")
    return kind
