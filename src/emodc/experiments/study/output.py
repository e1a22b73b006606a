"""What a study leaves beside its runs: study.json, study.md, figures and their data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from emodc.experiments.study.charts import (
    accuracy_chart,
    accuracy_data,
    csv_text,
    validation_chart,
    validation_data,
)
from emodc.experiments.study.tables import study_markdown
from emodc.reports.figures import save_figure
from emodc.support.files import write_atomically

REPORT, MARKDOWN = "study.json", "study.md"
ACCURACY, VALIDATION = "accuracy", "validation"
"""Names of the figures."""


def write_study(report: Mapping[str, Any], folder: Path) -> None:
    """Write a study's report.

    Args:
        report: of `emodc.experiments.study.summary.summarize_study`.
        folder: where to.

    Raises:
        ImportError: the extra ``figures`` is not installed.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{REPORT}.lock"):  # several processes may share a study
        _write(report, folder)


def _write(report: Mapping[str, Any], folder: Path) -> None:
    images = []
    if accuracies := accuracy_data(report):
        write_atomically(folder / f"{ACCURACY}.csv", csv_text(accuracies).encode())
        chart = accuracy_chart(accuracies, _floor(report))
        images.append(save_figure(chart, folder, ACCURACY)[0])
    if curves := validation_data(report):
        write_atomically(folder / f"{VALIDATION}.csv", csv_text(curves).encode())
        images.append(save_figure(validation_chart(curves), folder, VALIDATION)[0])
    write_atomically(folder / MARKDOWN, study_markdown(report, images).encode())
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / REPORT, text.encode())


def _floor(report: Mapping[str, Any]) -> float:
    """Return the accuracy of the majority-class baseline, which all runs share."""
    known = (run["majority_class_floor"] for arm in report["arms"] for run in arm["runs"])
    return float(next(floor for floor in known if floor is not None))
