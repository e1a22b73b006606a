"""Which classes are taken for which (AMDiT, arXiv 2603.29578, figure 5)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emodc.evaluation.metrics import summarize
from emodc.experiments.analysis.exhibit import Exhibit
from emodc.experiments.analysis.measurement import Measured
from emodc.reports.figures import new_figure
from emodc.reports.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_READING = """\
Rows are true classes, columns answers from all draws; a cell is the share of its row, so the
diagonal is the recall of each class and its mean, above each matrix, is the mean class accuracy. A
dark column is a class that is answered too often: a model that has learned the class prior, or
nothing, has one."""


def confusion(measured: Sequence[Measured]) -> Exhibit:
    """Return the confusion matrices of all models."""
    statistics = {
        model.name: summarize(model.probabilities, model.labels, model.classes)
        for model in measured
    }
    rows, table = [], []
    for name, found in statistics.items():
        for truth, counts in zip(found["labels"], found["confusion"], strict=True):
            shares = _shares(counts)
            for answer, count, share in zip(found["labels"], counts, shares, strict=True):
                rows.append([name, truth, answer, count, share])
        low, high = found["accuracy_ci95"]
        accuracy = f"{found['accuracy']:.3f} ({low:.3f} to {high:.3f})"
        table.append(
            [name, accuracy, f"{found['mean_class_accuracy']:.3f}", f"{found['macro_f1']:.3f}"]
        )
    return Exhibit(
        name="confusion",
        title="Confusion matrices",
        reading=_READING,
        header=["model", "true_class", "answer", "images", "share_of_true_class"],
        rows=rows,
        statistics=statistics,
        summary=markdown_table(
            ["model", "accuracy (95 % CI)", "mean class accuracy", "macro F1"], table
        ),
        figure=_draw(statistics),
    )


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(sum(counts), 1) for count in counts]


def _draw(statistics: dict[str, dict[str, Any]]) -> "Figure":
    classes = next(iter(statistics.values()))["labels"]
    side = 0.9 + 0.42 * len(classes)
    figure = new_figure(1.0 + side * len(statistics), 1.1 + side)
    grid = figure.subplots(1, len(statistics), sharey=True, squeeze=False)[0]
    for axes, (name, found) in zip(grid, statistics.items(), strict=True):
        shares = [_shares(counts) for counts in found["confusion"]]
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="Greys")
        for row, line in enumerate(shares):
            for column, share in enumerate(line):
                color = "white" if share > 0.5 else "black"
                text = {"ha": "center", "va": "center", "fontsize": 7, "color": color}
                axes.text(column, row, f"{100 * share:.0f}", **text)
        axes.set_title(
            f"{name}\nmean class accuracy {100 * found['mean_class_accuracy']:.1f} %", fontsize=9
        )
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
        axes.set_xlabel("answer", fontsize=9)
    grid[0].set_ylabel("true class", fontsize=9)
    figure.colorbar(image, ax=list(grid), label="share of the true class", shrink=0.8)
    return figure
