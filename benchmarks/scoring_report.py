"""The table and the figure of what `scoring.py` measured.

    python benchmarks/scoring_report.py docs/scoring.json

prints the tables as Markdown and draws the curves beside the file.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STYLES = {
    "plain": ("o", "-", "0.55"),
    "keep-k": ("s", ":", "0.35"),
    "best M": ("^", "--", "tab:orange"),
    "adaptive": ("D", "-", "tab:blue"),
}


def tables(report: dict[str, Any]) -> list[str]:
    """Return lines of Markdown."""
    half, faithful = report["half"], report["faithful_milliseconds"]
    seeds = ", ".join(map(str, report["seeds"]))
    headings = (
        *("method", "NFE, trunk", "NFE, prompts", "ms, fp32", f"ms, {half}", "x, fp32"),
        *(f"x, {half}", "agreement %", "accuracy %", "difference to plain 100 (95 %)"),
    )
    lines = [
        f"`{report['model']}`, {report['data']['images']:,} images of {report['data']['name']} "
        f"{report['data']['split']}, seeds {seeds}; {report['machine']}.",
        "",
        "| " + " | ".join(headings) + " |",
        "|---" * len(headings) + "|",
        f"| faithful loop | 700 | 700 | {faithful:.0f} | | 1 | | | | |",
    ]
    for row in report["methods"]:
        fp32, other = row["milliseconds"]["fp32"], row["milliseconds"][half]
        agreement, (_, low, high) = row["agreement"], row["accuracy_difference"]
        cells = (
            f"{row['family']} {row['name']}",
            f"{row['trunk_passes']:.1f}",
            f"{row['prompt_evaluations']:.0f}",
            f"{fp32:.1f}",
            f"{other:.1f}",
            f"{faithful / fp32:.1f}",
            f"{faithful / other:.1f}",
            _spread(agreement),
            _spread(row["accuracy"]),
            f"{100 * low:+.2f} to {100 * high:+.2f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    parity, peaks = report["half_agreement"], report["peak_memory_mib"]
    one = report["one_face_milliseconds"]
    lines += [
        "",
        f"- `predict` on one face, loaded, without detection: {one['fp32']:.0f} ms in fp32, "
        f"{one[half]:.0f} ms in {half} (medians).",
        f"- {half} gives the label of fp32 for {100 * parity['share']:.1f} % of "
        f"{parity['images']} images (plain, 100 draws).",
        f"- The faithful loop gives the labels of plain 100: {report['faithful_agrees']}.",
        "- Peak memory: " + ", ".join(f"{v:.0f} MiB for {k}" for k, v in peaks.items()) + ".",
        "",
        "| probabilities | ECE (95 %), first seed | ECE, all seeds | NLL | coverage, wanted "
        f"{report['calibration'][0]['wanted_coverage']} | labels in a set |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["name"] for row in report["calibration"]):
        rows = [row for row in report["calibration"] if row["name"] == name]
        low, high = rows[0]["ece_ci95"]
        lines.append(
            f"| {name} | {rows[0]['ece']:.3f} ({low:.3f} to {high:.3f}) "
            f"| {_range(rows, 'ece')} | {_range(rows, 'nll')} | {_range(rows, 'coverage')} "
            f"| {_range(rows, 'mean_set_size')} |"
        )
    return lines


def _spread(share: dict[str, float]) -> str:
    return (
        f"{100 * share['mean']:.2f} ({100 * share['least']:.2f} to {100 * share['greatest']:.2f})"
    )


def _range(rows: list[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows]
    return f"{min(values):.3f} to {max(values):.3f}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Write the curves: accuracy against trunk evaluations and against time (fp32)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    panels: list[tuple[str, Callable[[dict[str, Any]], float]]] = [
        ("trunk evaluations per image", lambda row: float(row["trunk_passes"])),
        ("milliseconds per image, fp32", lambda row: float(row["milliseconds"]["fp32"])),
    ]
    for axis, (label, cost) in zip(axes, panels, strict=True):
        for family, (marker, line, color) in STYLES.items():
            rows = sorted((row for row in report["methods"] if row["family"] == family), key=cost)
            accuracy = [100 * row["accuracy"]["mean"] for row in rows]
            axis.plot(
                [cost(row) for row in rows],
                accuracy,
                marker=marker,
                linestyle=line,
                color=color,
                label=family,
                markersize=5,
            )
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy (%)")
    axes[1].legend()
    data = report["data"]
    figure.suptitle(
        f"{report['model']}, {data['images']:,} images of {data['name']} {data['split']}"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    measured = json.loads(file.read_text(encoding="utf-8"))
    draw(measured, file.with_suffix(".png"))
    print("\n".join(tables(measured)))
