"""Write the results into README.md and docs/results.md from the reports in docs/.

    python scripts/write_results.py

Text between ``<!-- NAME -->`` and ``<!-- end of NAME -->`` is replaced: ``results`` from the
reports in docs/results/, ``scoring`` from docs/scoring.json (`benchmarks/scoring.py`), of which the
README gets one sentence and docs/results.md the tables.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from marked import with_part  # noqa: E402
from scoring_report import tables  # noqa: E402

WANTED_AGREEMENT = 0.985
COMMAND = (
    "emodc evaluate --model {model} --data {data}:/path/to/data --split {split} --steps {steps} "
    "--precision {precision}"
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
                precision=report["model"]["precision"],
            )
        )
    return "\n".join([*lines, "```", ""])


def scoring_sentence(report: dict[str, Any]) -> str:
    """Return what the scoring benchmark says, in short."""
    enough = [
        row
        for row in report["methods"]
        if row["family"] == "adaptive" and row["agreement"]["least"] >= WANTED_AGREEMENT
    ]
    chosen = min(enough, key=lambda row: float(row["trunk_passes"]))
    whole = report["methods"][0]
    agreement, faithful = chosen["agreement"], report["faithful_milliseconds"]
    fixed = next(
        row for row in report["methods"] if (row["family"], row["name"]) == ("best M", "8")
    )
    delta = chosen["name"].split()[1]
    return (
        f"On {report['data']['images']:,} test images and {len(report['seeds'])} banks of draws, "
        f"stopping as soon as the answer is settled (`--adaptive {delta}`) takes "
        f"{chosen['trunk_passes']:.1f} draws an image instead of 100 and gives the same answer for "
        f"{100 * agreement['mean']:.1f} % of them, at an accuracy of "
        f"{100 * chosen['accuracy']['mean']:.1f} % instead of "
        f"{100 * whole['accuracy']['mean']:.1f} %. The best 8 fixed timesteps agree with it on "
        f"{100 * fixed['agreement']['mean']:.1f} % only, but are right on "
        f"{100 * fixed['accuracy']['mean']:.1f} %. A loop over classes and draws takes "
        f"{faithful / 1000:.1f} s an image, this {chosen['milliseconds']['fp32']:.0f} ms "
        f"({faithful / chosen['milliseconds']['fp32']:.0f} times less; {report['machine']}).\n"
    )


def write(page: Path, mark: str, text: str) -> None:
    """Replace the marked part of a page."""
    before = page.read_text(encoding="utf-8")
    page.write_text(with_part(before, mark, text), encoding="utf-8")


def main() -> None:
    """Rewrite the marked parts."""
    readme, results = ROOT / "README.md", ROOT / "docs" / "results.md"
    files = sorted((ROOT / "docs" / "results").glob("*.json"))
    text = section([json.loads(file.read_text(encoding="utf-8")) for file in files])
    write(readme, "results", text)
    write(results, "results", text)
    scoring = json.loads((ROOT / "docs" / "scoring.json").read_text(encoding="utf-8"))
    write(readme, "scoring", scoring_sentence(scoring))
    write(results, "scoring", "\n".join([*tables(scoring), ""]))


if __name__ == "__main__":
    main()
