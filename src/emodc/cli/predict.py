"""The commands that use a model: ``emodc predict | evaluate | calibrate``."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emodc.cli.console import (
    complain,
    csv_writer,
    note,
    prediction_table,
    print_json,
    print_rich,
    progress,
)
from emodc.cli.options import (
    Adaptive,
    Budget,
    Device,
    Limit,
    ModelName,
    Precision,
    Seed,
    chosen_delta,
)

if TYPE_CHECKING:
    from emodc.inference.prediction import Prediction


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Images, folders of images, glob patterns."),
    ],
    model: ModelName = "face48",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Exactly this many draws for each face. [default: as --adaptive with a calibrated "
            "model, else 20]"
        ),
    ] = None,
    adaptive: Adaptive = None,
    budget: Budget = None,
    seed: Seed = 0,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect", help="Find the faces, or take every image for a face crop."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, row by row.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Name the expression of every face in images.

    Every face gets a row; an image without one, or that cannot be read, gets a row that says so.
    """
    if as_json and as_csv:
        raise ValueError("give --json or --csv, not both")
    from emodc.faces.sources import image_paths
    from emodc.inference.classifier import EmotionClassifier

    files = image_paths(paths)
    classifier = EmotionClassifier.from_pretrained(model, device, precision)
    rows: list[Prediction] = []
    stream = classifier.iter_predict(
        files,
        steps=steps,
        delta=chosen_delta(adaptive),
        budget=budget,
        seed=seed,
        from_crops=not detect,
    )
    keep = csv_writer(classifier.classes_) if as_csv else rows.append
    found: Counter[str] = Counter()
    with progress("images", show=not (as_csv and sys.stdout.isatty())) as advance:
        for row in stream:
            keep(row)
            found[row.status] += 1
            if row.status == "unreadable":
                complain(row.error or "")
            advance(row.image + 1, len(files))
    if as_json:
        print_json([row.to_dict() for row in rows])
    elif not as_csv and found["unreadable"] < len(files):
        print_rich(prediction_table(rows))
    if found["no_face"]:
        missing = f"no face found in {found['no_face']} of {len(files)} images"
        note(f"{missing}; for images of a face crop, give --no-detect")
    if found["unreadable"]:
        raise typer.Exit(2 if found["unreadable"] == len(files) else 1)


def evaluate(
    data: Annotated[str, typer.Option(metavar="NAME:PATH", help="The dataset.")],
    model: ModelName = "face48",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    steps: Annotated[
        int | None, typer.Option(help="Draws for each image. [default: 100, without --adaptive]")
    ] = None,
    adaptive: Adaptive = None,
    budget: Budget = None,
    limit: Limit = None,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect",
            help="Find, align and crop the faces first, as predict does, or take whole images.",
        ),
    ] = False,
    ignore_noise: Annotated[
        bool,
        typer.Option(
            "--ignore-noise", help="Score plainly: take images for clean, whatever they carry."
        ),
    ] = False,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the report; an evaluation interrupted there goes on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Measure a model, or a baseline, on a labeled dataset."""
    from emodc.data import open_data
    from emodc.evaluation.evaluate import evaluate as run
    from emodc.inference.classifier import choose_device
    from emodc.model.store import load_model
    from emodc.reports.evaluation import evaluation_table
    from emodc.support.distributed import join

    images = open_data(data, split)
    world = join(device)
    loaded = load_model(model, world.device or choose_device(device), precision)
    with progress("images") as advance:
        report = run(
            loaded.ignoring_noise() if ignore_noise else loaded,
            images,
            steps=steps,
            delta=chosen_delta(adaptive),
            budget=budget,
            seed=seed,
            limit=limit,
            detect=detect,
            output=output,
            progress=advance,
            world=world,
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_rich(evaluation_table(report.to_json()))
    if faceless := report.n_without_face:
        note(f"no face found in {faceless} images; the report names them")
    if unreadable := report.n_skipped - faceless:
        complain(f"{unreadable} images could not be read; the report names them")
        raise typer.Exit(1)


def calibrate(
    data: Annotated[
        str, typer.Option(metavar="NAME:PATH", help="The dataset; its validation split is used.")
    ],
    model: ModelName = "face48",
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write the calibrated model. [default: the model's folder]"),
    ] = None,
    split: Annotated[str, typer.Option(help="validation, or test if that is not reported on.")] = (
        "validation"
    ),
    steps: Annotated[int, typer.Option(help="Draws of the answer that is aimed at.")] = 100,
    limit: Limit = None,
    coverage: Annotated[
        float, typer.Option(help="Share of faces whose true class a prediction set shall hold.")
    ] = 0.9,
    seed: Seed = 0,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for measured errors; a calibration interrupted there goes on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Fit probabilities, prediction sets and sequential scoring of a model on validation data."""
    from emodc.calibration.calibrate import calibrate as run
    from emodc.data import open_data
    from emodc.inference.classifier import choose_device
    from emodc.model.store import load_model, save_model
    from emodc.reports.evaluation import calibration_table
    from emodc.support.distributed import join

    if output is None and not Path(model).is_dir():
        raise ValueError(f"model '{model}' is no folder to write to: give --output FOLDER")
    images = open_data(data, split)
    world = join(device)
    loaded = load_model(model, world.device or choose_device(device), precision)
    with progress("images") as advance:
        calibrated = run(
            loaded,
            images,
            steps=steps,
            limit=limit,
            coverage=coverage,
            seed=seed,
            folder=work,
            progress=advance,
            world=world,
        )
    folder = output or Path(model)
    if world.is_main:
        save_model(calibrated, folder)
    if as_json:
        print_json(calibrated.facts["calibration"])
    else:
        print_rich(calibration_table(calibrated.facts["calibration"]))
    note(f"the calibrated model is in {folder}")
