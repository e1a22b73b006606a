"""What a certification leaves: report.json, report.md and the curves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emodc.reports.figures import line_style, new_figure, save_figure
from emodc.reports.tables import markdown_table, skipped_lines
from emodc.support.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, MARKDOWN = "report.json", "report.md"
"""The two files that every certification leaves."""

_READING = """\
The share of faces whose true class provably stays the answer of the smoothed classifier, whatever
is done to the pixels within an L2 distance in units of a pixel's full range, with its 95 % interval
(Wilson). Distance 0: the smoothed classifier names the true class and does not abstain. The
certificates are those of Cohen et al. (ICML 2019); detection and alignment of the face are not
covered."""


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write a report of `emodc.experiments.certification.summary.summarize`.

    Raises:
        ImportError: the extra ``figures`` is not installed.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image, _ = save_figure(certified_curves(report), folder, "certified")
    lines = ["# Certified robustness", "", *certified_section(report), "", f"![curves]({image})"]
    write_atomically(folder / MARKDOWN, ("\n".join(lines) + "\n").encode())
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / REPORT, text.encode())


def certified_section(report: Mapping[str, Any]) -> list[str]:
    """Return the table and what goes with it, as lines of Markdown."""
    data, first = report["data"], report["smoothing"][0]
    lines = [
        f"{data['images']:,} faces of {data['name']} {data['split']}; {first['selection']:,} + "
        f"{first['estimation']:,} noisy images a face, {first['steps']} draws of (t, eps) each, "
        f"alpha {report['alpha']:g}, seed {first['seed']}.",
        "",
        *certified_table(report),
        "",
        _READING,
        *(["", *skipped_lines(report["skipped"])] if report["skipped"] else []),
    ]
    for row in report["attacks"]:
        lines += [
            "",
            f"`{row['model']}`, sigma {row['sigma']:g}: PGD within 99 % of the certified radius "
            f"altered {row['broken']} of {row['faces']} certified answers.",
        ]
    return lines


def certified_table(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each model and noise level."""
    header = ["model", "sigma", "abstains", *(f"{radius:g}" for radius in report["radii"])]
    rows = [
        [
            f"`{model['name']}`",
            f"{level['sigma']:g}",
            f"{level['abstained']:.2f}",
            *(_share(at) for at in level["at_radius"]),
        ]
        for model in report["models"]
        for level in model["levels"]
    ]
    return markdown_table([*header[:3], *(f"at {radius}" for radius in header[3:])], rows)


def _share(at: Mapping[str, Any]) -> str:
    low, high = at["accuracy_ci95"]
    return f"{at['accuracy']:.2f} ({low:.2f}-{high:.2f})"


def certified_curves(report: Mapping[str, Any]) -> "Figure":
    """Draw certified accuracy against the radius: a line for each model and noise level."""
    figure = new_figure(6.0, 4.0)
    axes = figure.subplots()
    images, number = report["data"]["images"], 0
    for model in report["models"]:
        for level in model["levels"]:
            radii = level["curve"]  # falling: the n-th largest is reached by n faces
            shares = [(n + 1) / images for n in range(len(radii))]
            xs, ys = [*reversed(radii)], [*reversed(shares)]
            style = line_style(number, len(xs))
            label = f"{model['name']}, sigma {level['sigma']:g}"
            axes.step([0.0, *xs], [ys[0] if ys else 0.0, *ys], where="pre", label=label, **style)
            number += 1
    axes.set_xlabel("L2 distance, in units of a pixel's full range")
    axes.set_ylabel("certified accuracy")
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
