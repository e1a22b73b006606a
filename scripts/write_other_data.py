"""Measure models under priors and shifts of validation data, and write docs/other-data.md.

    python scripts/write_other_data.py --data fer2013plus:PATH --work runs/other-data

The figures are kept in docs/other-data.json. Images that are scored already, in the
folder ``--work``, are not scored again. Without ``--data``, the page is written from the file.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emodc.evaluation.evaluate import PREDICTIONS
from emodc.evaluation.metrics import calibration_error, calibration_error_interval
from emodc.evaluation.shifts import evaluate_shifts, parse_shifts
from emodc.method.label_shift import class_weights
from emodc.model.label_shift import with_prior
from emodc.model.model import Model
from emodc.model.store import load_model
from emodc.reports.tables import markdown_table
from marked import with_part

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, FIGURES = DOCS / "other-data.md", DOCS / "other-data.json"

MODELS = ("face48", "baseline-cnn")
PRIORS = (
    "effective",
    "training",
    "balanced-power=0.25",
    "balanced-power=0.5",
    "balanced-power=0.75",
    "uniform",
    "balanced-power=1.25",
)
SHOWN = ("effective", "balanced-power=0.75", "uniform")  # under shifts
CHOICE_STEPS = 20  # on all images
PROXY_STEPS, PROXY_IMAGES = 4, 400
PRECISION, RESAMPLED = "bf16", 5000


def declared_ece(model: Model, predictions: Path) -> dict[str, Any]:
    """Return the calibration error on images resampled to the prior of the model's answers."""
    with predictions.open() as file:
        rows = list(csv.DictReader(file))
    names = model.answers.classes
    labels = torch.tensor([names.index(row["truth"]) for row in rows])
    p = torch.tensor([[float(row[name]) for name in names] for row in rows], dtype=torch.float64)
    prior = model.decision.prior
    assert prior is not None
    shares = torch.tensor(prior.answered, dtype=torch.float64)
    weights = class_weights(labels, shares)[labels]
    generator = torch.Generator().manual_seed(0)
    drawn: Tensor = torch.multinomial(weights, RESAMPLED, True, generator=generator)
    return {
        "ece": calibration_error(p[drawn], labels[drawn]),
        "ece_ci95": list(calibration_error_interval(p[drawn], labels[drawn])),
    }


def measured(name: str, spec: str, split: str, work: Path) -> dict[str, Any]:
    """Return the figures of a model: of every prior, and under every shift."""
    model = load_model(name, precision=PRECISION)
    found: dict[str, Any] = {"name": name, "split": split, "priors": {}, "shifts": {}}
    found["precision"] = PRECISION
    found["choice"] = {"steps": CHOICE_STEPS, "limit": None}
    found["proxies"] = {"steps": PROXY_STEPS, "limit": PROXY_IMAGES}
    for prior in PRIORS:
        asked = with_prior(model, prior)
        folder = work / name / "choice"
        rows = evaluate_shifts(
            asked, spec, split, ["none", "labels"], output=folder, steps=CHOICE_STEPS
        )
        adaptive = asked.decision.adaptive
        found["priors"][prior] = {
            "figures": {row.shift: row.to_json() for row in rows},
            "declared": declared_ece(asked, folder / "none" / PREDICTIONS),
            "least_delta": None if adaptive is None else adaptive.stops[0].delta,
        }
        if prior in SHOWN:
            rows = evaluate_shifts(
                asked,
                spec,
                split,
                parse_shifts("all", spec),
                output=work / name / "proxies",
                steps=PROXY_STEPS,
                limit=PROXY_IMAGES,
            )
            found["shifts"][prior] = [row.to_json() for row in rows]
        print(name, prior, flush=True)
    return found


def choice_table(found: dict[str, Any]) -> list[str]:
    """Return the figures of every prior."""
    rows = []
    for prior, each in found["priors"].items():
        plain, labels = each["figures"]["none"], each["figures"]["labels"]
        least = each["least_delta"]
        rows.append(
            [
                f"`{prior}`",
                _share(plain, "accuracy"),
                _share(plain, "mean_class_accuracy"),
                _share(labels, "accuracy"),
                _share(labels, "mean_class_accuracy"),
                "{:.3f} ({:.3f} to {:.3f})".format(
                    each["declared"]["ece"], *each["declared"]["ece_ci95"]
                ),
                "none" if least is None else f"{least:g}",
            ]
        )
    heads = ["prior", "FER+ accuracy", "FER+ mean class", "FER2013 accuracy", "FER2013 mean class"]
    return markdown_table([*heads, "ECE under the prior", "least delta"], rows)


def shift_table(found: dict[str, Any]) -> list[str]:
    """Return accuracy and mean class accuracy under every shift, for some priors."""
    first = found["shifts"][SHOWN[0]]
    rows = []
    for number, row in enumerate(first):
        cells = [row["shift"], f"{row['images']:,}"]
        for prior in SHOWN:
            each = found["shifts"][prior][number]
            cells += [_share(each, "accuracy"), _share(each, "mean_class_accuracy")]
        rows.append(cells)
    heads = [f"{prior}: {what}" for prior in SHOWN for what in ("accuracy", "mean class")]
    return markdown_table(["shift", "images", *heads], rows)


def _share(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_ci95"]
    return f"{row[name]:.3f} ({low:.3f} to {high:.3f})"


def rewritten() -> dict[Path, str]:
    """Return the page with the tables of the figures that are kept."""
    page = PAGE.read_text(encoding="utf-8")
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    for part, table in (("choice", choice_table), ("shifts", shift_table)):
        lines = []
        for found in figures.values():
            settings = found["choice" if part == "choice" else "proxies"]
            about = f"`{found['name']}`, {found['split']} split, {found['precision']}, seed 0, "
            about += f"{settings['steps']} draws (baselines: 2)"
            about += f", {settings['limit']} images" if settings["limit"] else ", all images"
            lines += [about + ":", "", *table(found), ""]
        page = with_part(page, part, "\n".join(lines))
    return {PAGE: page}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="fer2013plus:PATH")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--work", type=Path, default=Path("runs") / "other-data")
    parser.add_argument("--model", action="append", help="default: face48 and baseline-cnn")
    asked = parser.parse_args()
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if asked.data is not None:
        for one in asked.model or MODELS:
            known[one] = measured(one, asked.data, asked.split, asked.work)
            FIGURES.write_text(json.dumps(known, indent=1) + "\n")
    for file, text in rewritten().items():
        file.write_text(text)
