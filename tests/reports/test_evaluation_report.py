import json
from pathlib import Path

import pytest

from emodc.reports.evaluation_report import EvaluationReport

PUBLISHED = sorted((Path(__file__).parents[2] / "docs" / "results").glob("*.json"))


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_a_report_is_written_as_it_was_read(file: Path, tmp_path: Path) -> None:
    report = EvaluationReport.read(file)
    report.write(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_bytes() == file.read_bytes()
    assert EvaluationReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not readable as JSON"),
        (b"\xff", "not UTF-8 text"),
        (b"[" * 50_000, "not readable as JSON"),
        (b"null", "not the report of an evaluation"),
        (b"[1]", "not the report of an evaluation"),
        (b'{"accuracy": 0.5}', "accuracy_ci95: Field required"),
    ],
)
def test_what_is_no_report_is_refused_in_a_line(text: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(text)
    with pytest.raises(ValueError, match=reason) as refusal:
        EvaluationReport.read(file)
    assert str(refusal.value).startswith(str(file))
    assert "\n" not in str(refusal.value)


def test_a_part_of_a_report_is_named_by_its_path(tmp_path: Path) -> None:
    values = json.loads(PUBLISHED[0].read_bytes())
    values["per_class"]["fear"]["support"] = "many"
    with pytest.raises(ValueError, match=r"mine: .*per_class\.fear\.support.*emodc evaluate"):
        EvaluationReport.from_json(values, "mine")
