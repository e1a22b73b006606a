"""The report of a study as a page for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emodc.experiments.study.output import MARKDOWN
from emodc.reports.html import Page, read_sections

METHOD = (
    "All arms train the same network on the same samples and noise; only the objective differs. "
    "Settings and checkpoints are chosen on validation images, and test images are looked at once.",
    "A small network on one dataset says what an objective does there. Larger networks and other "
    "data may differ. A single seed says little about differences of less than a point.",
)


def study_page(report: Mapping[str, Any], folder: Path) -> Page:
    """Return the page of a study.

    Args:
        report: of `emodc.experiments.study.summary.summarize_study`.
        folder: where `emodc.experiments.study.output.write_study` wrote it.

    Raises:
        OSError: the folder cannot be read.
    """
    data = report["data"]
    return Page(
        title=f"Training objectives compared on {data['name']}",
        answer=_answer(report),
        sections=read_sections(folder / MARKDOWN),
        method=METHOD,
        command=report["command"],
    )


def _answer(report: Mapping[str, Any]) -> str:
    means = {
        arm["name"]: arm["figures"]["accuracy"]["mean"]
        for arm in report["arms"]
        if arm["setting"] is not None and arm["figures"]["accuracy"]["mean"] is not None
    }
    if not means:
        return "No arm has been evaluated yet."
    order = sorted(means, key=lambda name: -means[name])
    said = ", ".join(f"{name} {means[name]:.1%}" for name in order)
    unfinished = "" if report["finished"] else " The study is not finished."
    return f"{order[0]} is right most often on test images: {said}.{unfinished}"
