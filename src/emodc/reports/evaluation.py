"""What people read of an evaluation or a calibration: tables for the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emodc.reports.evaluation_report import ClassFigures, EvaluationReport, GroupFigures
from emodc.reports.tables import skipped_lines

_WIDTH, _GAP = 80, 3  # of the terminal that the confusion matrix shall fit; between its columns


def evaluation_table(report: EvaluationReport) -> RenderableType:
    """Return the readable form of a report, for a rich console.

    Args:
        report: what was found.
    """
    figures = plain_table(report_title(report))
    figures.show_header = False
    figures.add_column(style="bold")
    figures.add_column(justify="right")
    for pair in headline_figures(report):
        figures.add_row(*pair)

    names = [Text(name) for name in report.labels]
    classes = plain_table("By class", "class", "images", "precision", "recall", "F1")
    for name, row in zip(names, report.per_class.values(), strict=True):
        classes.add_row(name, str(row.support), *class_shares(row))
    confusion = plain_table("Confusion: row = true class, column = predicted", "true")
    confusion.pad_edge = False  # else the names of the seven basic expressions do not fit
    for heading in _headings(report.labels):
        confusion.add_column(Text(heading), justify="right")
    for name, counts in zip(names, report.confusion, strict=True):
        confusion.add_row(name, *map(str, counts))
    groups = [_group_table(name, values) for name, values in report.groups.items()]
    remarks = [Text(line) for line in remarks_on(report)]
    return Group(figures, classes, confusion, *groups, *remarks)


def _group_table(name: str, values: Mapping[str, GroupFigures]) -> Table:
    table = plain_table(f"By {name}", name, "images", "accuracy", "95 % CI", "mean class accuracy")
    for value, row in values.items():
        low, high = row.accuracy_ci95
        shown = (f"{row.accuracy:.4f}", f"{low:.4f} to {high:.4f}")
        table.add_row(value, f"{row.n_images:,}", *shown, f"{row.mean_class_accuracy:.4f}")
    return table


def _headings(names: Sequence[str]) -> list[str]:
    """Return headings of a confusion matrix: names broken over lines only to fit the terminal."""
    longest = max(map(len, names))
    room = _WIDTH - longest - _GAP * len(names) - 1  # beside the column of true classes
    for width in range(longest, 2, -1):
        shown = [_parts(name, width) for name in names]
        if sum(len(parts[0]) for parts in shown) <= room:
            break
    return ["\n".join(parts) for parts in shown]


def _parts(name: str, width: int) -> list[str]:
    """Return a name in parts of equal length, the last one apart, of ``width`` at most."""
    length = math.ceil(len(name) / math.ceil(len(name) / width))
    return [name[start : start + length] for start in range(0, len(name), length)]


def calibration_table(facts: Mapping[str, Any]) -> Group:
    """Return what a calibration reached on the images that fitted nothing.

    Args:
        facts: ``facts["calibration"]`` of a model from
            :func:`emodc.calibration.calibrate.calibrate`.
    """
    noise = plain_table("Accounting for noise in the images", "severity", "plain", "noise-aware")
    for trial in facts["noise"].get("trials", []):
        pair = (f"{trial['plain']:.4f}", f"{trial['noise_aware']:.4f}")
        noise.add_row(str(trial["severity"] or "clean"), *pair)
    if "held_out" not in facts:
        return Group(noise)
    held_out = facts["held_out"]
    title = f"Held out: {held_out['images']:,} images of {facts['data']} {facts['split']}"
    figures = plain_table(title, "", "before", "after")
    for name in ("accuracy", "nll", "ece"):
        values = (held_out["before"][name], held_out["after"][name])
        figures.add_row(name, *(f"{value:.4f}" for value in values))
    if "folds" in held_out:
        figures.title = Text(f"{held_out['folds']}-fold cross-validation, the scale alone")
        return Group(figures)
    stops = plain_table("Sequential scoring", "delta", "answers differ", "draws", "accuracy")
    for stop in held_out["stops"]:
        shown = (f"{stop['differ']:.4f}", f"{stop['draws']:.1f}", f"{stop['accuracy']:.4f}")
        stops.add_row(f"{stop['delta']:g}", *shown)
    return Group(figures, stops, noise) if noise.row_count else Group(figures, stops)


def shift_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return figures under shifts of the data.

    Args:
        title: what was evaluated.
        rows: one for each shift, as `emodc.evaluation.shifts.ShiftedFigures` has it.
    """
    table = plain_table(
        title, "shift", "images", "accuracy", "95 % CI", "mean class acc.", "95 % CI", "ECE"
    )
    for row in rows:
        cells = [row["shift"], f"{row['images']:,}"]
        for name in ("accuracy", "mean_class_accuracy"):
            low, high = row[f"{name}_ci95"]
            cells += [f"{row[name]:.3f}", f"{low:.3f} to {high:.3f}"]
        table.add_row(*cells, f"{row['ece']:.3f}")
    return table


def prior_table(
    shares: Mapping[str, float], intervals: Mapping[str, tuple[float, float]], faces: int
) -> Table:
    """Return estimated class shares with their 95 % intervals, by class name.

    Args:
        shares: of the classes.
        intervals: of the shares.
        faces: that they were estimated from.
    """
    table = plain_table(f"Class shares of {faces:,} faces", "class", "share", "95 % CI")
    for name, share in shares.items():
        low, high = intervals[name]
        table.add_row(name, f"{share:.3f}", f"{low:.3f} to {high:.3f}")
    return table


def plain_table(title: str, *columns: str) -> Table:
    """Return an empty table for the terminal: the first column is text, the others are figures."""
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE)
    for number, heading in enumerate(columns):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


def report_title(report: EvaluationReport) -> str:
    """Return what was evaluated on what, and how."""
    scoring = f"{report.steps} steps"
    if report.delta is not None:
        scoring = f"sequential scoring of {scoring} at delta {report.delta:g}"
    found = ", faces detected" if report.detect else ""
    precision = report.model.precision
    computed = "" if precision == "fp32" else f", {precision}"
    return (
        f"{report.model.name} on {report.data.name} {report.data.split}, "
        f"{report.n_images:,} images, {scoring}, seed {report.seed}{found}{computed}"
    )


def headline_figures(report: EvaluationReport) -> list[tuple[str, str]]:
    """Return names and values of what an evaluation says on the whole."""
    low, high = report.accuracy_ci95
    return [
        ("accuracy", f"{report.accuracy:.4f} (95 % CI {low:.4f} to {high:.4f})"),
        ("mean class accuracy", f"{report.mean_class_accuracy:.4f}"),
        ("macro F1", f"{report.macro_f1:.4f}"),
        ("majority-class baseline", f"{report.majority_class_floor:.4f}"),
        ("chance", f"{report.chance:.4f}"),
        ("negative log-likelihood", f"{report.nll:.4f} nats"),
        ("expected calibration error", f"{report.ece:.4f}"),
        ("draws of (t, eps) per image", f"{report.trunk_passes_per_image:,g}"),
        (
            "(draw, prompt) evaluations per image",
            f"{report.prompt_evaluations_per_image:,g}",
        ),
        ("seconds per image", f"{report.seconds_per_image:.3g}"),
    ]


def remarks_on(report: EvaluationReport) -> list[str]:
    """Return a line for everything that was left out."""
    lines = []
    if missing := report.model.classes_left_out:
        lines.append(f"Classes of the model that the data lack: {', '.join(missing)}.")
    if missing := report.data.classes_left_out:
        lines.append(
            f"Classes of the data that the model lacks: {', '.join(missing)} "
            f"({report.data.images_left_out} images left out)."
        )
    return lines + skipped_lines([vars(image) for image in report.skipped])


def class_shares(row: ClassFigures) -> list[str]:
    """Return precision, recall and F1 of a class; "-" where undefined."""
    shares = (row.precision, row.recall, row.f1)
    return ["-" if share is None else f"{share:.3f}" for share in shares]
