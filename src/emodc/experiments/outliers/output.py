"""The report on outliers: outliers.json, outliers.md."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from emodc.experiments.outliers.kinds import Crop
from emodc.experiments.outliers.measurement import Outliers, Separation
from emodc.model.identity import weights_hash
from emodc.reports.tables import markdown_table, skipped_lines
from emodc.support.files import write_atomically

REPORT, MARKDOWN = "outliers.json", "outliers.md"

_READING = """\
AUROC: the probability that a typical face scores higher than the other image, with its bootstrap
interval over the images (95 %); in brackets, the share of the others that are kept where 95 % of
the typical faces are."""


def summarize(
    work: Outliers,
    found: Mapping[str, Mapping[str, Mapping[str, Separation]]],
    others: Mapping[str, Sequence[Crop]],
) -> dict[str, Any]:
    """Return the report, ready for JSON.

    Args:
        work: what was measured.
        found: of its `Outliers.run`.
        others: what it was shown.
    """
    sample = work.sample
    return {
        "data": {
            "name": sample.data.name,
            "split": sample.data.split,
            "images": len(sample.labels),
            "fingerprint": sample.data.fingerprint(),
        },
        "skipped": [{"id": name, "reason": reason} for name, reason in sample.skipped],
        "steps": work.steps,
        "seed": work.seed,
        "kinds": {kind: len(crops) for kind, crops in others.items()},
        "models": [
            {
                "name": name,
                "weights_sha256": weights_hash(work.models[name]),
                "scores": {
                    score: {kind: asdict(value) for kind, value in by_kind.items()}
                    for score, by_kind in scores.items()
                },
            }
            for name, scores in found.items()
        ],
        "versions": {"emodc": version("emodc"), "torch": str(torch.__version__)},
    }


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write the report.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Outliers", "", *outlier_section(report)]
    write_atomically(folder / MARKDOWN, ("\n".join(lines) + "\n").encode())
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / REPORT, text.encode())


def outlier_section(report: Mapping[str, Any]) -> list[str]:
    """Return the table and what goes with it, as lines of Markdown."""
    data = report["data"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in report["kinds"].items())
    return [
        f"{data['images']:,} faces of {data['name']} {data['split']} against {kinds}; seed "
        f"{report['seed']}.",
        "",
        *outlier_table(report),
        "",
        _READING,
        *(["", *skipped_lines(report["skipped"])] if report["skipped"] else []),
    ]


def outlier_table(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each model and score."""
    kinds = list(report["kinds"])
    rows = [
        [f"`{model['name']}`", score, *(_cell(by_kind[kind]) for kind in kinds)]
        for model in report["models"]
        for score, by_kind in model["scores"].items()
    ]
    return markdown_table(["model", "score", *kinds], rows)


def _cell(value: Mapping[str, Any]) -> str:
    low, high = value["auroc_ci95"]
    return f"{value['auroc']:.3f} ({low:.3f}-{high:.3f}) [{value['fpr95']:.2f}]"
