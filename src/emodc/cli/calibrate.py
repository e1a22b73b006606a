"""The command ``emodc calibrate``: fit the decision on validation data."""

from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import note, print_json, print_rich, progress
from emodc.cli.options import (
    Device,
    Limit,
    ModelName,
    Precision,
    Seed,
)


def calibrate(
    data: Annotated[
        str, typer.Option(metavar="NAME:PATH", help="Labeled dataset; see emodc data list.")
    ],
    model: ModelName = "face48",
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write the calibrated model. [default: the model's folder]"),
    ] = None,
    split: Annotated[
        str, typer.Option(help="validation, or test if you report no results on it.")
    ] = ("validation"),
    steps: Annotated[
        int,
        typer.Option(help="Draws of (t, eps) per image."),
    ] = 100,
    limit: Limit = None,
    coverage: Annotated[
        float,
        typer.Option(help="Share of faces whose prediction set shall contain the true class."),
    ] = 0.9,
    timesteps: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="FIRST END",
            help="Draw timesteps from FIRST to before END alone. [default: the model's]",
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Prior of the model where none is asked for. [default: see the docs]"),
    ] = None,
    seed: Seed = 0,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for measured errors; an interrupted calibration resumes there."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Fit probabilities, prediction sets and early stopping of scoring on validation data."""
    from emodc.calibration.calibrate import DEFAULT_PRIOR
    from emodc.calibration.calibrate import calibrate as run
    from emodc.data import open_data
    from emodc.model.store import load_model, save_model
    from emodc.reports.evaluation import calibration_table
    from emodc.support.devices import choose_device
    from emodc.support.distributed import join
    from emodc.support.locks import holding

    if output is None and not Path(model).is_dir():
        raise ValueError(f"model '{model}' has no folder to write to: give --output FOLDER")
    images = open_data(data, split)
    world = join(device)
    loaded = load_model(model, world.device or choose_device(device), precision)
    folder = output or Path(model)
    apart = None if work is None or work.resolve() == folder.resolve() else work
    with holding(folder, world), holding(apart, world), progress("images") as advance:
        calibrated = run(
            loaded,
            images,
            steps=steps,
            limit=limit,
            coverage=coverage,
            span=timesteps,
            prior=prior or DEFAULT_PRIOR,
            seed=seed,
            folder=work,
            progress=advance,
            world=world,
        )
        if world.is_main:
            save_model(calibrated, folder)
    if as_json:
        print_json(calibrated.facts["calibration"])
    else:
        print_rich(calibration_table(calibrated.facts["calibration"]))
    note(f"the calibrated model is in {folder}")
