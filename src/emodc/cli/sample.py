"""The command ``emodc sample``: faces drawn by the weights that classify."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import note, progress
from emodc.cli.options import Device, ModelName, Precision


def sample(
    output: Annotated[Path, typer.Option(metavar="FILE.png", help="The image to write.")],
    model: ModelName = "face48",
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class to draw; several may be given. [default: all]"),
    ] = None,
    interpolate: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="FROM TO", help="Draw the way from one class to another, from the same noise."
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="Faces of each class.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of the sampler for each face.")] = 50,
    sampler: Annotated[
        str, typer.Option(help="ddim, or dpm-solver: DPM-Solver++(2M), good in fewer steps.")
    ] = "ddim",
    guidance: Annotated[
        float, typer.Option(help="1: the class alone; more exaggerates it against no class.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that the faces begin with.")] = 0,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Draw faces of some classes with the weights that classify, a row for each class.

    The faces of a column begin with the same noise.
    """
    from emodc.explain.sample_sheet import interpolation_sheet, sample_sheet
    from emodc.model.store import load_model
    from emodc.support.devices import choose_device
    from emodc.support.files import write_atomically

    if output.suffix.lower() != ".png":
        raise ValueError(f"--output {output}: give a file name that ends with .png")
    if not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}")
    if classes and interpolate:
        raise ValueError("give --class or --interpolate, not both")
    loaded = load_model(model, choose_device(device), precision)
    if interpolate:
        sheet = partial(interpolation_sheet, loaded, *interpolate)
    else:
        sheet = partial(sample_sheet, loaded, classes or loaded.label_set.classes)
    with progress("steps") as advance:
        page = sheet(
            count, steps=steps, guidance=guidance, sampler=sampler, seed=seed, progress=advance
        )
    write_atomically(output, page)
    note(f"the image is {output}")
