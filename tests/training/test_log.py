import logging
from pathlib import Path

import pytest

from emodc.training.log import METRICS, RunLog, read_metrics

_WHOLE = '{"samples": 8, "loss": 0.5}\n'


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b'{"samples": null}',
        b'{"samples": "8"}',
        b'{"samples": true}',
        b'{"samples": -1}',
        b'{"loss": 1.0}',
        b'{"samples": 16, "loss": [1]}',
        b"[1, 2]",
        b'{"samples": 16, "lo',
        b"\x00\xff\xfe",
        b"[" * 50_000,
        b"9" * 5000,
        b"",
    ],
    ids=lambda line: repr(line[:24]),
)
def test_a_line_that_is_none_is_dropped_and_told(
    line: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / METRICS).write_bytes(_WHOLE.encode() + line + b"\n" + _WHOLE.encode())
    assert read_metrics(tmp_path) == [{"samples": 8, "loss": 0.5}] * 2
    assert f"{METRICS}, line 2: dropped" in caplog.text
    RunLog(tmp_path, "", samples=8)
    assert (tmp_path / METRICS).read_text() == 2 * _WHOLE


def test_metrics_of_a_run_that_diverges_are_kept(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"samples": 8, "loss": NaN}\n')
    assert [line["samples"] for line in read_metrics(tmp_path)] == [8]


def test_metrics_that_are_no_file_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / METRICS).mkdir()
    with pytest.raises(ValueError, match=METRICS):
        read_metrics(tmp_path)
