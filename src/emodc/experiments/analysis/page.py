"""An analysis as a page for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emodc.experiments.analysis.output import README
from emodc.reports.html import Page, read_sections

METHOD = (
    "The noise in a face is predicted under every prompt, and the errors are compared: a model "
    "that tells the classes apart predicts it worse under a wrong class than under the true one. "
    "All models see the same faces and the same noise.",
    "The figures describe the errors of these models on these faces. They say how training changed "
    "them, not why.",
)


def analysis_page(report: Mapping[str, Any], folder: Path, command: str) -> Page:
    """Return the page of an analysis.

    Args:
        report: of `emodc.experiments.analysis.output.write_analysis`.
        folder: that it wrote.
        command: that analyzes again.

    Raises:
        OSError: the folder cannot be read.
    """
    figures, data = report["figures"], report["data"]
    said = [
        f"{name} is right for {figures['confusion'][name]['accuracy']:.1%} of the faces; its mean "
        f"error under the true class is {figures['denoising'][name]['mean_d_p']:.4f}."
        for name in report["models"]
    ]
    return Page(
        title=f"Noise-prediction errors on {data['name']} {data['split']}, "
        f"{data['images']:,} images",
        answer=" ".join(said),
        sections=read_sections(folder / README),
        method=METHOD,
        command=command,
    )
