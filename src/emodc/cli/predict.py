"""The command ``emodc predict``: faces in photographs."""

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from emodc.cli.console import (
    csv_writer,
    given_command,
    note,
    prediction_table,
    print_error,
    print_json,
    print_rich,
    progress,
)
from emodc.cli.options import (
    Adaptive,
    Budget,
    Device,
    Html,
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
        typer.Argument(metavar="PATH", help="Images, folders of images or glob patterns."),
    ],
    model: ModelName = "face48",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Exactly this many draws of (t, eps) per face. [default: early stopping as with "
            "--adaptive if the model is calibrated, else 20]"
        ),
    ] = None,
    adaptive: Adaptive = None,
    budget: Budget = None,
    seed: Seed = 0,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect", help="Detect faces, or treat every image as a face crop."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, row by row as faces are done.")
    ] = False,
    html: Html = None,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Classify the expression of every face in images.

    Every face gets a row. An image that has no face or cannot be read gets a row that says so.
    """
    if as_json and as_csv:
        raise ValueError("give --json or --csv, not both")
    from emodc.faces.listing import Skipped, summary
    from emodc.faces.sources import image_paths
    from emodc.inference.classifier import EmotionClassifier
    from emodc.inference.page import PredictionPage
    from emodc.reports.html import check_page, write_page

    check_page(html)
    skipped: list[Skipped] = []
    files = image_paths(paths, skipped.append)
    if skipped:
        note(summary(skipped))
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
    page = PredictionPage(classifier.model.name, given_command())
    keep = csv_writer(classifier.classes_) if as_csv else rows.append
    found: Counter[str] = Counter()
    with progress("images", show=not (as_csv and sys.stdout.isatty())) as advance:
        for row in stream:
            keep(row)
            if html is not None:
                page.add(row, files[row.image])
            found[row.status] += 1
            if row.status == "unreadable":
                print_error(row.error or "")
            advance(row.image + 1, len(files))
    if html is not None:
        write_page(html, page.page())
        note(f"the page is {html}")
    if as_json:
        left_out = [
            {"file": str(item.file), "status": "skipped", "error": item.reason} for item in skipped
        ]
        print_json([*(row.to_dict() for row in rows), *left_out])
    elif not as_csv and found["unreadable"] < len(files):
        print_rich(prediction_table(rows))
    if found["no_face"]:
        missing = f"no face found in {found['no_face']} of {len(files)} images"
        note(f"{missing}; for images of a face crop, give --no-detect")
    if found["unreadable"]:
        raise typer.Exit(2 if found["unreadable"] == len(files) else 1)
