"""The report of a comparison as a page for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emodc.experiments.robustness.output import MARKDOWN
from emodc.experiments.robustness.tables import eps_text
from emodc.reports.html import Page, read_sections

METHOD = (
    "Every model sees the same faces, corrupted in the same way in five severities, or changed by "
    "an attacker who may change each pixel by a little. Differences are taken face by face, so "
    "they are surer than the intervals of the single accuracies suggest.",
    "Corruptions are made by a computer. They stand for cameras, weather and compression, but are "
    "none of them. A robust accuracy holds for the attack that was tried: a better one can only "
    "lower it.",
    "Labels are what annotators saw in clean faces; a severe corruption can hide what they saw.",
)


def robustness_page(report: Mapping[str, Any], folder: Path, command: str) -> Page:
    """Return the page of a comparison.

    Args:
        report: of `emodc.experiments.robustness.output.write_report`.
        folder: that it wrote.
        command: that compares again.

    Raises:
        OSError: the folder cannot be read.
    """
    data = report["data"]
    return Page(
        title=f"Robustness on {data['name']} {data['split']}",
        answer=" ".join(_sentences(report)),
        sections=read_sections(folder / MARKDOWN),
        method=METHOD,
        command=command,
    )


def _sentences(report: Mapping[str, Any]) -> list[str]:
    said = []
    for model in report["models"]:
        clean, corrupted = model["clean"]["accuracy"], model["corrupted"]
        if corrupted is None:
            said.append(f"{model['name']} is right for {clean:.1%} of the clean faces.")
        else:
            said.append(
                f"{model['name']} is right for {corrupted['accuracy']:.1%} of the corrupted and "
                f"{clean:.1%} of the clean faces."
            )
    weakest: dict[str, Mapping[str, Any]] = {}
    for row in report["attacks"]:
        least = weakest.setdefault(row["model"], row)
        if row["accuracy"] < least["accuracy"]:
            weakest[row["model"]] = row
    for name, row in weakest.items():
        said.append(
            f"The strongest attack (eps {eps_text(row['eps'], row['norm'])}) leaves {name} "
            f"{row['accuracy']:.1%}."
        )
    return said
