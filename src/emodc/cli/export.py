"""The command ``emodc export``: a trained model for others."""

from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import note


def export(
    model: Annotated[str, typer.Argument(help="Folder of a run, or any other model.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the model and its card to.")],
    name: Annotated[str | None, typer.Option(help="New name of the model.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in float16.")] = False,
    license_id: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="ID",
            help="License of the weights, by its hub identifier, such as mit. [default: left open]",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="report.json of an evaluation of FOLDER, for the card.")
    ] = None,
    samples: Annotated[
        bool,
        typer.Option(
            "--samples", help="Generate faces of every class for the card; see emodc sample."
        ),
    ] = False,
    push: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub",
            metavar="OWNER/NAME",
            help="Upload to the Hugging Face hub; a new repository is private.",
        ),
    ] = None,
) -> None:
    """Package a trained model with its card.

    For a card with results: export, evaluate the exported folder, and export again with --report.
    """
    from emodc.model.store import load_model
    from emodc.publishing.export import export_model, push_to_hub
    from emodc.reports.evaluation_report import EvaluationReport
    from emodc.support.locks import holding

    figures = None if report is None else EvaluationReport.read(report)
    with holding(folder):
        export_model(
            load_model(model),
            folder,
            name=name,
            half=half,
            license_id=license_id,
            report=figures,
            samples=samples,
        )
    note(f"the model is in {folder}")
    if push is not None:
        note(f"uploaded: {push_to_hub(folder, push)}")
