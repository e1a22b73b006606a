"""The command ``emodc analyze``: what training made of the errors."""

from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import complain, note, print_json, progress
from emodc.cli.options import Device, Precision, Seed, names_to_show


def analyze(
    model: Annotated[
        list[str],
        typer.Option(
            help="A bundled model's name, a model's folder or a hub id; once for each. The others "
            "are compared with the first one."
        ),
    ],
    data: Annotated[
        str, typer.Option(metavar="NAME:PATH", help="The dataset: face crops, as they come.")
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for figures; an analysis interrupted there goes on.")
    ],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    steps: Annotated[int, typer.Option(help="Draws for each image.")] = 100,
    limit: Annotated[int, typer.Option(help="Take a stratified subset of this many images.")] = 300,
    seed: Seed = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell the cost and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all statistics as JSON.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Draw what training made of the errors: correlations, confusions, gaps, curves over t.

    Every error is measured once and kept: the same command draws again without measuring, and
    models can be added to it.
    """
    from emodc.data import open_data
    from emodc.experiments.analysis import Measurement, write_analysis
    from emodc.experiments.analysis.output import README, summary_table
    from emodc.model.store import load_model
    from emodc.reports.figures import require_matplotlib
    from emodc.support.devices import choose_device

    if not dry_run:
        require_matplotlib()
    faces = open_data(data, split)
    chosen = choose_device(device)
    loaded = [load_model(name, chosen, precision) for name in model]
    names = names_to_show([each.name for each in loaded], model)
    measurement = Measurement(
        dict(zip(names, loaded, strict=True)),
        faces,
        output,
        steps=steps,
        limit=limit,
        seed=seed,
    )
    for cost in measurement.cost():
        note(str(cost))
    if dry_run:
        return
    try:
        training = open_data(data, "train")
    except ValueError as error:
        training = None
        note(f"no linear denoiser to compare with: {error}")
    with progress("images") as advance:
        report = write_analysis(measurement, output, training=training, progress=advance)
    if as_json:
        print_json(report)
    else:
        typer.echo("\n".join(summary_table(report)))
    note(f"the figures, and how to read them, are in {output / README}")
    if unreadable := len(report["skipped"]):
        complain(f"{unreadable} images could not be read; the report names them")
        raise typer.Exit(1)
