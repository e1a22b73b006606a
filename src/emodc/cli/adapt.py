"""The command ``emodc adapt``: how frequent the classes are in unlabeled photographs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import note, print_error, print_json, print_rich, progress
from emodc.cli.options import Device, ModelName, Precision, Seed


def adapt(
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="PATH", help="Unlabeled images, folders or patterns."),
    ],
    model: ModelName = "face48",
    output: Annotated[
        Path,
        typer.Option(metavar="FILE.json", help="Prior to write, for --prior."),
    ] = Path("prior.json"),
    steps: Annotated[
        int | None,
        typer.Option(help="Draws of (t, eps) per face. [default: as predict]"),
    ] = None,
    seed: Seed = 0,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect", help="Detect faces, or treat every image as a face crop."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the prior as JSON.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Estimate how frequent the expressions are in unlabeled photos, for --prior.

    Give photos like those that you will ask about; a hundred faces or more.
    """
    import torch

    from emodc.faces.sources import image_paths
    from emodc.inference.adaptation import adapt as estimate
    from emodc.inference.adaptation import require_prior
    from emodc.inference.classifier import EmotionClassifier
    from emodc.reports.evaluation import prior_table
    from emodc.support.files import write_atomically

    if output.suffix != ".json":
        raise ValueError(f"--output {output}: give a file name that ends with .json")
    classifier = EmotionClassifier.from_pretrained(model, device, precision)
    require_prior(classifier.model)
    files = image_paths(data, lambda skipped: None)
    found, image, unreadable = [], [], 0
    stream = classifier.iter_predict(files, steps=steps, seed=seed, from_crops=not detect)
    with progress("images") as advance:
        for row in stream:
            if row.status == "unreadable":
                print_error(row.error or "")
                unreadable += 1
            if row.probabilities is not None:
                found.append(list(row.probabilities.values()))
                image.append(row.image)
            advance(row.image + 1, len(files))
    shares = torch.tensor(found, dtype=torch.float64).view(-1, len(classifier.classes_))
    prior = estimate(classifier.model, shares, image)
    described = prior.to_json(classifier.model)
    write_atomically(output, (json.dumps(described, indent=2) + "\n").encode())
    if as_json:
        print_json(described)
    else:
        print_rich(prior_table(prior.shares, prior.intervals, prior.faces))
    for line in prior.warnings:
        note(f"warning: {line}")
    note(f"the prior is in {output}: give --prior {output}")
    if unreadable:
        raise typer.Exit(1)
