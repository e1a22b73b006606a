"""The command ``emodc sample``: faces generated with the classifier's own weights."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import note, progress
from emodc.cli.options import Device, ModelName, Precision

SamplerSteps = Annotated[int, typer.Option(help="Sampler steps per face.")]
Sampler = Annotated[
    str, typer.Option(help="ddim, or dpm-solver: DPM-Solver++(2M), which needs fewer steps.")
]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance scale; 1 is no guidance.")]


def sample(
    output: Annotated[Path, typer.Option(metavar="FILE.png", help="Image to write.")],
    model: ModelName = "face48",
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class to generate; repeatable. [default: all]"),
    ] = None,
    interpolate: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="FROM TO", help="Interpolate from one class to another, from the same noise."
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="Faces per class.")] = 8,
    steps: SamplerSteps = 50,
    sampler: Sampler = "ddim",
    guidance: Guidance = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial noise.")] = 0,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Generate faces with the classifier's own weights, one row per class.

    The faces of a column start from the same noise.
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
