"""Write the results into README.md and docs/results.md from the reports in docs/.

    python scripts/write_results.py

Text between ``<!-- NAME -->`` and ``<!-- end of NAME -->`` is replaced: ``results`` from the
reports in docs/results/, README's with the means of the robustness report ``noise-blur``; README's
``sequential`` from the report in docs/results/sequential/ and its counterpart; and the tables
``scoring`` from docs/scoring.json (`benchmarks/scoring.py`).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from emodc.reports.evaluation_report import EvaluationReport  # noqa: E402
from emodc.reports.tables import markdown_table  # noqa: E402
from marked import with_part  # noqa: E402
from scoring_report import tables  # noqa: E402

REPORTS = ROOT / "docs" / "results"
SHIPPED = "face48-fer2013plus-test.json"
COMMAND = """\
emodc evaluate --model {model} --data {data}:/path/to/data --split {split} \\
  --steps {steps} --precision {precision}"""


def row(report: EvaluationReport) -> list[str]:
    """Return a report as a line of the table."""
    return [
        f"`{report.model.name}`",
        f"{report.data.name} {report.data.split}",
        f"{report.n_images:,}",
        f"{report.steps}",
        share(report.accuracy, report.accuracy_ci95),
        f"{report.mean_class_accuracy:.3f}",
        f"{report.macro_f1:.3f}",
        f"{report.ece:.3f}",
        f"{report.majority_class_floor:.3f}",
    ]


def share(accuracy: float, interval: Sequence[float]) -> str:
    """Return an accuracy with its confidence interval."""
    low, high = interval
    return f"**{accuracy:.3f}** ({low:.3f} to {high:.3f})"


def section(reports: list[EvaluationReport]) -> str:
    """Return the table and the commands behind it."""
    headings = (
        *("model", "data", "images", "steps", "accuracy (95 % CI)", "mean class accuracy"),
        *("macro F1", "ECE", "majority class"),
    )
    commands = [
        COMMAND.format(
            model=report.model.name,
            data=report.data.name,
            split=report.data.split,
            steps=report.steps,
            precision=report.model.precision,
        )
        for report in reports
    ]
    lines = [
        *markdown_table(headings, [row(report) for report in reports]),
        "",
        "Each row is the report of one of these commands, seed 0, in `docs/results/`:",
        "",
        "```text",
        *commands,
        "```",
    ]
    return "\n".join([*lines, ""])


def summary(reports: list[EvaluationReport], robustness: dict[str, Any]) -> str:
    """Return the small table of README.

    Args:
        reports: of evaluations, all on the same images.
        robustness: of `emodc robustness`, with the same models.
    """
    corrupted = {
        model["name"]: (model["corrupted"]["accuracy"], model["corrupted"]["accuracy_ci95"])
        for model in robustness["models"]
    }
    rows = [
        [
            f"`{report.model.name}`",
            share(report.accuracy, report.accuracy_ci95),
            f"{report.mean_class_accuracy:.3f}",
            f"{report.ece:.3f}",
            share(*corrupted[report.model.name]),
        ]
        for report in reports
    ]
    header = ["model", "accuracy (95 % CI)", "mean class accuracy", "ECE"]
    images, floor = reports[0].n_images, reports[0].majority_class_floor
    lines = [
        *markdown_table([*header, "accuracy under noise and blur (95 % CI)"], rows),
        "",
        f"Test split of FER+, {images:,} images; the majority-class baseline has {floor:.3f}. "
        "Noise and blur: the mean over eight corruptions at five severities, on "
        f"{robustness['n_images']:,} of these images.",
        "",
    ]
    return "\n".join(lines)


def sequential_sentence(report: EvaluationReport, whole: EvaluationReport) -> str:
    """Return what scoring sequentially takes and gives, in short.

    Args:
        report: of an evaluation with ``--adaptive``.
        whole: of one of the same model and images with all draws.
    """
    name, delta = report.model.name, report.delta
    return (
        f"With early stopping (`--adaptive {delta:g}`), `{name}` needs "
        f"{report.trunk_passes_per_image:.1f} draws per image instead of {whole.steps}, at "
        f"an accuracy of {report.accuracy:.3f} instead of {whole.accuracy:.3f} "
        f"({report.n_images:,} images).\n"
    )


def read(file: Path) -> dict[str, Any]:
    """Return what a JSON file holds."""
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def rewritten() -> dict[Path, str]:
    """Return the pages with their marked parts renewed."""
    readme, page = ROOT / "README.md", ROOT / "docs" / "results.md"
    reports = [EvaluationReport.read(file) for file in sorted(REPORTS.glob("*.json"), reverse=True)]
    robustness = read(REPORTS / "robustness" / "noise-blur.json")
    stopped = EvaluationReport.read(REPORTS / "sequential" / SHIPPED)
    whole = EvaluationReport.read(REPORTS / SHIPPED)
    scoring = read(ROOT / "docs" / "scoring.json")
    pages = {file: file.read_text(encoding="utf-8") for file in (readme, page)}
    for file, part, text in (
        (readme, "results", summary(reports, robustness)),
        (readme, "sequential", sequential_sentence(stopped, whole)),
        (page, "results", section(reports)),
        (page, "scoring", "\n".join([*tables(scoring), ""])),
    ):
        pages[file] = with_part(pages[file], part, text)
    return pages


if __name__ == "__main__":
    for file, text in rewritten().items():
        file.write_text(text, encoding="utf-8")
