from collections import Counter
from pathlib import Path

import pytest

from emodc.experiments.robustness import AttackPlan, Comparison
from emodc.experiments.robustness.output import write_report
from emodc.support import results
from emodc.support.tensors import Kept, read_tensors
from tests.experiments.robustness.conftest import Memory, faces, remembering


def comparison(output: Path) -> Comparison:
    """Corruptions, sequences and attacks, with two seeds."""
    subjects = [remembering("knows", faces(7)), Memory("neutral")]
    plan = AttackPlan(eps=(0.02, 0.1), iterations=2, checked=4, minimal=True)
    suites = ["noise-blur", "rafdb-p"]
    options = {"suites": suites, "severities": (1, 3), "frames": 3, "attack": plan}
    return Comparison(subjects, faces(7), output, seeds=(0, 1), **options)  # type: ignore[arg-type]


def test_a_report_reads_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[Path] = Counter()

    def counting(path: Path) -> Kept:
        reads[path] += 1
        return read_tensors(path)

    monkeypatch.setattr(results, "read_tensors", counting)
    first = comparison(tmp_path)
    first.run()
    report = write_report(first.results, tmp_path / "first")
    assert not reads  # what was just measured is known

    again = comparison(tmp_path)
    again.cost()
    again.run()
    assert write_report(again.results, tmp_path / "again") == report
    assert set(reads) == set((tmp_path / "cells").rglob("*.safetensors"))
    assert set(reads.values()) == {1}


def test_a_name_may_hold_what_no_folder_can(tmp_path: Path) -> None:
    Comparison([Memory("../a: b")], faces(7), tmp_path, suites=()).run()
    assert [path.name for path in (tmp_path / "cells").iterdir()] == ["_a_b"]
