import io
import json
from pathlib import Path

import pytest

from emodc.reports.rows import CsvRows, JsonRows, rows_file

COLUMNS = {"name": str, "count": int, "share": float}
ROWS: list[dict[str, str | int | float | None]] = [
    {"name": "a, b", "count": 1, "share": 1 / 3},
    {"name": None, "count": None, "share": None},
    {"name": "c", "count": 3, "share": 1.0},
]


def write(path: Path) -> Path:
    with rows_file(path, COLUMNS) as rows:
        for row in ROWS:
            rows.write(row)
    return path


def test_csv_has_a_header_and_rounds(tmp_path: Path) -> None:
    text = write(tmp_path / "a.csv").read_text()
    assert text == 'name,count,share\n"a, b",1,0.333333\n,,\nc,3,1.0\n'


def test_each_row_of_csv_is_there_at_once() -> None:
    stream = io.StringIO()
    CsvRows(stream, COLUMNS).write(ROWS[0])
    assert len(stream.getvalue().splitlines()) == 2


def test_json_is_a_list_of_what_was_given(tmp_path: Path) -> None:
    assert json.loads(write(tmp_path / "a.json").read_text()) == ROWS
    stream = io.StringIO()
    JsonRows(stream).close()
    assert json.loads(stream.getvalue()) == []


def test_parquet_keeps_kinds_and_what_is_missing(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra tables")
    table = parquet.read_table(write(tmp_path / "a.parquet"))
    assert table.to_pylist() == ROWS
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double"]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_nothing_unfinished_is_left(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"

    def fail() -> None:
        with rows_file(path, COLUMNS) as rows:
            rows.write(ROWS[0])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end with \.csv or"), rows_file(tmp_path / "a", {}):
        pass
