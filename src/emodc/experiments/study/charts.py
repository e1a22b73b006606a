"""The study's figures, and their data as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from emodc.reports.figures import line_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_data(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each arm's mean over its seeds, with its interval, and for each run."""
    rows = []
    for arm in report["arms"]:
        if arm["accuracy_ci95"] is None:
            continue
        mean = arm["figures"]["accuracy"]["mean"]
        rows.append(_accuracy(arm["name"], "mean", mean, arm["accuracy_ci95"]))
        rows += [
            _accuracy(arm["name"], run["seed"], run["accuracy"], run["accuracy_ci95"])
            for run in arm["runs"]
            if not run["diverged"]
        ]
    return rows


def validation_data(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each validation of the runs in the chosen settings."""
    return [
        {
            "arm": arm["name"],
            "seed": run["seed"],
            "samples": point["samples"],
            "validation_accuracy": point["accuracy"],
        }
        for arm in report["arms"]
        for run in arm["runs"]
        for point in run["validations"]
    ]


def accuracy_chart(rows: Sequence[Mapping[str, Any]], floor: float) -> "Figure":
    """Draw each arm's mean with its interval, and its runs as small rings.

    Args:
        rows: of `accuracy_data`.
        floor: the accuracy of the majority-class baseline.
    """
    names = list(dict.fromkeys(row["arm"] for row in rows))
    figure = new_figure(6.4, 1.0 + 0.32 * len(names))
    axes = figure.subplots()
    for row in rows:
        place = names.index(row["arm"])
        if row["seed"] == "mean":
            accuracy, low, high = row["accuracy"], row["low"], row["high"]
            spread = [[max(accuracy - low, 0.0)], [max(high - accuracy, 0.0)]]  # 0 may be rounded
            axes.errorbar([accuracy], [place], xerr=spread, fmt="o", color="black", capsize=3)
        else:
            axes.plot(row["accuracy"], place + 0.25, "o", mfc="white", mec="0.4", markersize=4)
    axes.axvline(floor, color="0.5", lw=0.8, ls=":")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy, 95 % over images (rings: runs; dotted: majority class)")
    return figure


def validation_chart(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw validation accuracy over samples: a line for each arm, the mean over its seeds.

    Args:
        rows: of `validation_data`.
    """
    names = list(dict.fromkeys(row["arm"] for row in rows))
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for number, name in enumerate(names):
        points: dict[int, list[float]] = {}
        for row in rows:
            if row["arm"] == name:
                points.setdefault(row["samples"], []).append(row["validation_accuracy"])
        axes.plot(
            list(points),
            [fmean(values) for values in points.values()],
            label=name,
            **line_style(number, len(points)),
        )
    axes.set_xlabel("training samples")
    axes.set_ylabel("validation accuracy")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of the same keys as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _accuracy(arm: str, seed: int | str, accuracy: float, ci95: Sequence[float]) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "accuracy": accuracy, "low": ci95[0], "high": ci95[1]}
