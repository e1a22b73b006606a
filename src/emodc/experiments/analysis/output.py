"""From models to a folder of figures, each with its data and how to read it."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from emodc.data.face_data import FaceData
from emodc.experiments.analysis.confusion import confusion
from emodc.experiments.analysis.correlation import correlation
from emodc.experiments.analysis.denoising import denoising, linear_errors
from emodc.experiments.analysis.exhibit import Exhibit
from emodc.experiments.analysis.gaps import gaps
from emodc.experiments.analysis.measurement import Measurement
from emodc.experiments.analysis.profiles import profiles
from emodc.experiments.analysis.steps import steps as accuracy_by_steps
from emodc.model.identity import model_identity
from emodc.model.model import Model
from emodc.reports.figures import require_matplotlib, save_figure
from emodc.reports.tables import markdown_table
from emodc.support.files import write_atomically
from emodc.support.timing import Progress, unheard

REPORT, README = "analysis.json", "README.md"
"""The two files that every analysis leaves beside its figures."""


def analyze(
    models: Mapping[str, Model],
    data: FaceData,
    output: Path,
    *,
    training: FaceData | None = None,
    steps: int = 100,
    limit: int | None = 300,
    seed: int = 0,
    progress: Progress = unheard,
) -> dict[str, Any]:
    """Show what training made of the errors of diffusion classifiers.

    Every error is measured once and kept: the same call draws again without measuring, and further
    models can be added.

    Args:
        models: by the name that figures use; the first, such as Base, is what the others are
            compared with.
        data: face crops.
        output: folder for figures, data and report.
        training: what the linear denoiser is fitted on; without it that is left out.
        steps: S, draws for each image.
        limit: take a stratified subset of this many faces; None: all.
        seed: of the draws and of the choice of faces.
        progress: is told how far it is.

    Returns:
        The report, as in ``analysis.json``.

    Raises:
        ValueError: see `Measurement` and `Measurement.run`.
        ImportError: the extra ``figures`` is not installed.
        OSError: the folder cannot be written.
    """
    require_matplotlib()
    measurement = Measurement(models, data, output, steps=steps, limit=limit, seed=seed)
    return write_analysis(measurement, output, training=training, progress=progress)


def write_analysis(
    measurement: Measurement,
    output: Path,
    *,
    training: FaceData | None = None,
    progress: Progress = unheard,
) -> dict[str, Any]:
    """Measure what is missing, and write figures, data and report; see `analyze`."""
    measured = measurement.run(progress)
    first = next(iter(measurement.models.values()))
    faces, t = measurement.sample.data, measurement.t
    linear = None
    if training is not None:
        linear = linear_errors(first, training, faces, t, output)
    exhibits = [
        correlation(measured),
        confusion(measured),
        gaps(measured),
        accuracy_by_steps(measured),
        profiles(measured),
        denoising(measured, linear),
    ]
    report = _report(measurement, exhibits)
    for exhibit in exhibits:
        save_figure(exhibit.figure, output, exhibit.name)
        write_atomically(output / f"{exhibit.name}.csv", exhibit.csv().encode())
    write_atomically(output / README, _readme(report, exhibits).encode())
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    write_atomically(output / REPORT, text.encode())
    return report


def summary_table(report: Mapping[str, Any]) -> list[str]:
    """Return a line of Markdown for each model, with what matters most.

    Args:
        report: of `analyze`.
    """
    figures = report["figures"]
    rows = []
    for name in report["models"]:
        matrix, errors = figures["confusion"][name], figures["denoising"][name]
        follows = figures["correlation"][name]
        rows.append(
            [
                *(name, f"{matrix['accuracy']:.3f}", f"{matrix['mean_class_accuracy']:.3f}"),
                *(f"{errors['mean_d_p']:.4f}", f"{errors['ratio_to_first']:.3f}"),
                *(f"{follows[key]['images']['pearson']:.3f}" for key in ("null", "non_class")),
            ]
        )
    header = ["model", "accuracy", "mean class accuracy", "mean d_p", "d_p over the first model's"]
    return markdown_table([*header, "r(d_p, d_null)", "r(d_p, d_nc)"], rows)


def _report(measurement: Measurement, exhibits: Sequence[Exhibit]) -> dict[str, Any]:
    sample = measurement.sample
    return {
        "models": {
            name: {"name": model.name, **model_identity(model)}
            for name, model in measurement.models.items()
        },
        "data": {
            "name": sample.data.name,
            "split": sample.data.split,
            "fingerprint": sample.data.fingerprint(),
            "images": len(sample.labels),
            "classes": list(sample.classes),
            "images_left_out": sample.images_left_out,
        },
        "steps": len(measurement.t),
        "seed": measurement.seed,
        "skipped": [{"id": name, "reason": reason} for name, reason in sample.skipped],
        "figures": {exhibit.name: exhibit.statistics for exhibit in exhibits},
        "versions": {"emodc": version("emodc"), "torch": str(torch.__version__)},
    }


def _readme(report: Mapping[str, Any], exhibits: Sequence[Exhibit]) -> str:
    data = report["data"]
    lines = [
        "# Analysis",
        "",
        *textwrap.wrap(
            f"{', '.join(report['models'])} on {data['images']:,} images of {data['name']} "
            f"{data['split']}, {report['steps']} draws of (t, eps) shared by all images, prompts "
            f"and models, seed {report['seed']}. Each model sees them as its decision says. d_p is "
            "the error under the true class, d_n under a wrong one, d_null under the null prompt, "
            "d_nc under the non-class prompt, all as mean squares per element.",
            width=100,
            break_on_hyphens=False,
        ),
        "",
        *summary_table(report),
    ]
    if skipped := len(report["skipped"]):
        lines += ["", f"{skipped} images could not be read; `{REPORT}` names them."]
    for exhibit in exhibits:
        lines += ["", f"## {exhibit.title}", "", f"![{exhibit.title}]({exhibit.name}.png)"]
        lines += ["", exhibit.reading, "", *exhibit.summary, "", f"Data: `{exhibit.name}.csv`."]
    return "\n".join(lines) + "\n"
