"""Write the results into README.md and docs/results.md from the reports in docs/results/.

    python scripts/write_results.py

Text between ``<!-- results -->`` and ``<!-- end of results -->`` is replaced.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- results -->\n).*?(<!-- end of results -->)", re.DOTALL)
COMMAND = (
    "emodc evaluate --model {model} --data {data}:/path/to/data --split {split} --steps {steps}"
)


def row(report: dict[str, Any]) -> str:
    """Return a report as a line of the table."""
    low, high = report["accuracy_ci95"]
    cells = [
        f"`{report['model']['name']}`",
        f"{report['data']['name']} {report['data']['split']}",
        f"{report['n_images']:,}",
        f"{report['steps']}",
        f"**{report['accuracy']:.3f}** ({low:.3f} to {high:.3f})",
        f"{report['mean_class_accuracy']:.3f}",
        f"{report['macro_f1']:.3f}",
        f"{report['ece']:.3f}",
        f"{report['majority_class_floor']:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def section(reports: list[dict[str, Any]]) -> str:
    """Return the table and the commands behind it."""
    headings = (
        *("model", "data", "images", "steps", "accuracy (95 % CI)", "mean class accuracy"),
        *("macro F1", "ECE", "commonest class"),
    )
    lines = ["| " + " | ".join(headings) + " |", "| --- " * len(headings) + "|"]
    lines += [row(report) for report in reports]
    lines += [
        "",
        "Each line is the report of this command, seed 0, in `docs/results/`:",
        "",
        "```text",
    ]
    for report in reports:
        data = report["data"]
        lines.append(
            COMMAND.format(
                model=report["model"]["name"],
                data=data["name"],
                split=data["split"],
                steps=report["steps"],
            )
        )
    return "\n".join([*lines, "```", ""])


def main() -> None:
    """Rewrite the marked parts."""
    files = sorted((ROOT / "docs" / "results").glob("*.json"))
    text = section([json.loads(file.read_text(encoding="utf-8")) for file in files])
    for page in (ROOT / "README.md", ROOT / "docs" / "results.md"):
        before = page.read_text(encoding="utf-8")
        page.write_text(MARKED.sub(rf"\g<1>{text}\g<2>", before), encoding="utf-8")


if __name__ == "__main__":
    main()
