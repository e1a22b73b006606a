"""The report's figures: curves against severity and epsilon, and a heat map."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emodc.experiments.robustness.tables import eps_text
from emodc.reports.figures import line_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4  # of panels
_PANEL = (3.0, 2.4)  # inches
_LETTER, _SAMPLE = 0.062, 0.5  # inches that a letter and a line's sample take in a legend


def severity_curves(report: Mapping[str, Any]) -> "Figure":
    """Draw accuracy against severity, one panel for the mean and one for each corruption.

    Args:
        report: of `emodc.experiments.robustness.summary.summarize_comparison`, with corruptions.
    """
    names = list(report["models"][0]["corrupted"]["by_corruption"])
    models = [model["name"] for model in report["models"]]
    cells = {(c["model"], c["corruption"], c["severity"]): c for c in report["cells"]}
    severities = sorted({severity for *_, severity in cells if severity})
    panels: list[tuple[str, Sequence[str]]] = [("mean of all", names)]
    panels += [(name, [name]) for name in names]
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = new_figure(_COLUMNS * _PANEL[0], rows * _PANEL[1] + 0.4)
    grid = _panels(figure, len(panels), _COLUMNS, share_x=True)
    for axes, (title, members) in zip(grid, panels, strict=True):
        for number, model in enumerate(models):
            clean = cells[model, "clean", 0]["accuracy"]
            mean = [
                sum(cells[model, name, severity]["accuracy"] for name in members) / len(members)
                for severity in severities
            ]
            _line(axes, [0, *severities], [clean, *mean], number, model)
            if len(members) == 1:
                points = [cells[model, "clean", 0], *(cells[model, title, s] for s in severities)]
                low, high = zip(*(point["accuracy_ci95"] for point in points), strict=True)
                axes.fill_between([0, *severities], low, high, color=f"C{number}", alpha=0.15, lw=0)
        axes.set_title(title.replace("_", " "), fontsize=9)
        axes.set_xticks([0, *severities], ["clean", *map(str, severities)])
        axes.tick_params(labelbottom=True, labelsize=8)
        axes.axhline(1 / len(report["classes"]), color="gray", lw=0.8, ls=":")
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel("accuracy (dotted: chance)", fontsize=9)
    _legend(figure, grid[0])
    return figure


def epsilon_curves(report: Mapping[str, Any]) -> "Figure":
    """Draw robust accuracy against epsilon, a line for each model, defense and source of images.

    Args:
        report: of `emodc.experiments.robustness.summary.summarize_comparison`, with attacks.
    """
    clean = {model["name"]: model["clean"]["accuracy"] for model in report["models"]}
    series: dict[str, list[Mapping[str, Any]]] = {}
    for row in report["attacks"]:
        defense = "" if row["defence"] == "no draws" else f", {row['defence']}"
        source = f", on {row['made_on']}" if "made_on" in row else ""
        series.setdefault(f"{row['model']}{defense}{source}", []).append(row)
    first = report["attacks"][0]
    figure = new_figure(6.0, 4.0)
    axes = figure.subplots()
    for number, (label, rows) in enumerate(series.items()):
        rows = sorted(rows, key=lambda row: float(row["eps"]))
        eps = [0.0, *(row["eps"] for row in rows)]
        start = clean[rows[0]["model"]]
        _line(axes, eps, [start, *(row["accuracy"] for row in rows)], number, label)
        low, high = zip(*(row["accuracy_ci95"] for row in rows), strict=True)
        axes.fill_between(eps[1:], low, high, color=f"C{number}", alpha=0.15, lw=0)
    ticks = sorted({row["eps"] for row in report["attacks"]})
    axes.set_xticks(
        [0.0, *ticks],
        ["0", *(eps_text(eps, first["norm"]) for eps in ticks)],
        rotation=45,
        fontsize=8,
    )
    axes.set_xlabel(f"eps, {first['norm']}, {first['attack']}")
    axes.set_ylabel("accuracy")
    axes.set_ylim(-0.02, 1.02)
    _legend(figure, axes)
    return figure


def heat_map(report: Mapping[str, Any]) -> "Figure":
    """Draw accuracies as colors: a panel for each model, corruptions down, severities across.

    Args:
        report: of `emodc.experiments.robustness.summary.summarize_comparison`, with corruptions.
    """
    models = [model["name"] for model in report["models"]]
    names = list(report["models"][0]["corrupted"]["by_corruption"])
    cells = {(c["model"], c["corruption"], c["severity"]): c["accuracy"] for c in report["cells"]}
    severities = sorted({severity for *_, severity in cells if severity})
    columns = min(len(models), _COLUMNS)
    rows = math.ceil(len(models) / columns)
    width = 1.8 + columns * (0.6 + 0.45 * (len(severities) + 1))
    figure = new_figure(width, rows * (1.0 + 0.28 * len(names)))
    grid = _panels(figure, len(models), columns)
    for axes, model in zip(grid, models, strict=True):
        values = [
            [cells[model, "clean", 0], *(cells[model, name, severity] for severity in severities)]
            for name in names
        ]
        image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                color = "black" if value > 0.6 else "white"
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", size=7, color=color
                )
        axes.set_title(model, fontsize=9)
        axes.set_xticks(range(len(severities) + 1), ["clean", *map(str, severities)], fontsize=8)
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    figure.colorbar(image, ax=grid, label="accuracy", shrink=0.9)
    return figure


def _panels(figure: "Figure", count: int, columns: int, *, share_x: bool = False) -> list["Axes"]:
    """Return ``count`` panels that share their y axis; what is left of the last row stays empty."""
    rows = math.ceil(count / columns)
    grid = list(figure.subplots(rows, columns, sharex=share_x, sharey=True, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_visible(False)
    return grid[:count]


def _line(axes: "Axes", x: Sequence[float], y: Sequence[float], number: int, label: str) -> None:
    axes.plot(x, y, label=label, **line_style(number, len(x)))


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    room = figure.get_figwidth() / (_LETTER * max(map(len, labels)) + _SAMPLE)
    columns = max(1, min(len(labels), 3, int(room)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=8)
