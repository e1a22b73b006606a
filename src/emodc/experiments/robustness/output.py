"""The folder of a finished comparison: report.json, report.md and the figures."""

import json
from pathlib import Path
from typing import Any

from emodc.experiments.robustness.charts import epsilon_curves, heat_map, severity_curves
from emodc.experiments.robustness.face_chart import face_chart
from emodc.experiments.robustness.results import Results
from emodc.experiments.robustness.summary import summarize_results
from emodc.experiments.robustness.tables import robustness_markdown
from emodc.reports.figures import save_figure
from emodc.support.files import write_atomically

REPORT, MARKDOWN = "report.json", "report.md"
"""The two files that every comparison leaves."""


def write_report(
    results: Results, folder: Path, *, baseline: str | None = None, figures: bool = True
) -> dict[str, Any]:
    """Write the report of a finished comparison.

    Args:
        results: all of them finished.
        folder: where to.
        baseline: see `summarize_results`.
        figures: draw them, as PNG and SVG.

    Returns:
        The report.

    Raises:
        ImportError: figures are wanted and the extra ``figures`` is not installed.
        OSError: the folder cannot be written.
    """
    report = summarize_results(results, baseline)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[list[str]] = []
    if figures and any(model["corrupted"] for model in report["models"]):
        drawn.append(save_figure(severity_curves(report), folder, "curves"))
        drawn.append(save_figure(heat_map(report), folder, "heat_map"))
        drawn.append(save_figure(face_chart(results), folder, "face"))
    if figures and report["attacks"]:
        drawn.append(save_figure(epsilon_curves(report), folder, "attack"))
    images = [png for png, _ in drawn]
    write_atomically(folder / MARKDOWN, robustness_markdown(report, images).encode())
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / REPORT, text.encode())
    return report
