"""The command ``emodc analyze``: how training changed the noise-prediction errors."""

from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import exit_if_unreadable, given_command, note, print_json, progress
from emodc.cli.options import (
    AsJson,
    Crops,
    Device,
    DryRun,
    Html,
    Precision,
    Seed,
    Split,
    names_to_show,
)


def analyze(
    model: Annotated[
        list[str],
        typer.Option(
            help="Bundled model, model folder or hub id; repeatable. The others are compared with "
            "the first one."
        ),
    ],
    data: Crops,
    output: Annotated[
        Path, typer.Option(help="Folder for figures; an interrupted analysis resumes there.")
    ],
    split: Split = "test",
    steps: Annotated[int, typer.Option(help="Draws of (t, eps) per image.")] = 100,
    limit: Annotated[int, typer.Option(help="Use a stratified subset of this many images.")] = 300,
    seed: Seed = 0,
    html: Html = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Plot how training changed the errors: correlations, confusions, gaps, curves over t.

    The noise-prediction errors are measured once and kept: run the command again to redraw the
    figures, or to add models.
    """
    from emodc.data import open_data
    from emodc.experiments.analysis import Measurement, write_analysis
    from emodc.experiments.analysis.output import README, summary_table
    from emodc.experiments.analysis.page import analysis_page
    from emodc.model.store import load_model
    from emodc.reports.figures import require_matplotlib
    from emodc.reports.html import check_page, write_page
    from emodc.support.devices import choose_device
    from emodc.support.locks import holding

    check_page(html)
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
        note(f"the comparison with a linear denoiser is left out: {error}")
    with holding(output), progress("images") as advance:
        report = write_analysis(measurement, output, training=training, progress=advance)
    if html is not None:
        write_page(html, analysis_page(report, output, given_command()))
        note(f"the page is {html}")
    if as_json:
        print_json(report)
    else:
        typer.echo("\n".join(summary_table(report)))
    note(f"the figures, and how to read them, are in {output / README}")
    exit_if_unreadable(len(report["skipped"]))
