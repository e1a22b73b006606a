"""Write the results into docs/robustness.md from docs/results/robustness/.

    python scripts/write_robustness.py

Each report there is a ``report.json`` of `emodc robustness`, under a name of its own. Text between
``<!-- robustness -->`` and ``<!-- end of robustness -->`` is replaced by all of them, the part
``headline`` by the means of the report ``noise-blur``.
"""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from emodc.corruptions import CORRUPTIONS
from emodc.experiments.robustness.tables import attack_tables, summary_table
from emodc.reports.tables import markdown_table
from marked import with_part

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "robustness.md"


def section(name: str, report: dict[str, Any]) -> list[str]:
    """Return a report's tables, as lines of Markdown.

    Args:
        name: of its file.
        report: of `emodc robustness`.
    """
    data = report["data"]
    corruptions = dict.fromkeys(cell["corruption"] for cell in report["cells"] if cell["severity"])
    severities = sorted({cell["severity"] for cell in report["cells"]} - {0})
    lines = [
        f"### {name}",
        "",
        f"{data['name']} {data['split']}, {report['n_images']:,} faces of "
        f"{len(report['classes'])} classes, seed {', '.join(map(str, report['seeds']))}"
        + (f"; differences to {report['baseline']}" if report["baseline"] else "")
        + ".",
    ]
    if corruptions:
        lines[-1] += (
            f" Corrupted: mean over {', '.join(corruptions)} at severity "
            f"{', '.join(map(str, severities))}."
        )
    lines += ["", *summary_table(report), "", *attack_tables(report, level=4, notes=False)]
    failed = [finding for finding in report["findings"] if not finding["passed"]]
    if report["findings"]:
        lines.append(f"Checks of the attack: {len(report['findings'])}, failed: {len(failed)}.")
        lines += [f"- {f['model']}, {f['defence']}: {f['check']}: {f['detail']}" for f in failed]
        lines.append("")
    return lines


def headline(report: dict[str, Any]) -> list[str]:
    """Return the means over noise and over blur, as lines of Markdown.

    Args:
        report: of `emodc robustness` with the suite noise-blur, all severities.
    """
    groups = ("noise", "blur")
    rows = []
    for model in report["models"]:
        cells = [c for c in report["cells"] if c["model"] == model["name"] and c["severity"]]
        means = [
            fmean(c["accuracy"] for c in cells if CORRUPTIONS[c["corruption"]].group == group)
            for group in groups
        ]
        corrupted = model["corrupted"]
        low, high = corrupted["accuracy_ci95"]
        rows.append(
            [f"`{model['name']}`", f"{model['clean']['accuracy']:.3f}"]
            + [f"{mean:.3f}" for mean in means]
            + [f"**{corrupted['accuracy']:.3f}** ({low:.3f} to {high:.3f})"]
        )
    header = ["model", "clean", *groups, "noise and blur (95 % CI)"]
    return markdown_table(header, rows)


def rewritten(page: str, reports: dict[str, dict[str, Any]]) -> str:
    """Return a page with these reports, by name, between its marks."""
    lines = [line for name, report in reports.items() for line in section(name, report)]
    if "noise-blur" in reports:
        page = marked(page, "headline", headline(reports["noise-blur"]))
    return marked(page, "robustness", lines or ["None yet."])


def marked(page: str, name: str, lines: list[str]) -> str:
    """Return a page with these lines as the part of this name."""
    return with_part(page, name, "\n".join(lines).rstrip() + "\n")


def kept_reports() -> dict[str, dict[str, Any]]:
    """Return the reports by name."""
    files = sorted((ROOT / "docs" / "results" / "robustness").glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def main() -> None:
    """Rewrite the marked parts."""
    page = rewritten(PAGE.read_text(encoding="utf-8"), kept_reports())
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
