"""The commands that look into a model: ``emodc analyze | sample``."""

from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import complain, note, print_json, progress
from emodc.cli.options import Device, ModelName, Precision, Seed, names_to_show


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
    from emodc.inference.classifier import choose_device
    from emodc.model.store import load_model
    from emodc.reports.figures import require_matplotlib

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


def sample(
    output: Annotated[Path, typer.Option(metavar="FILE.png", help="The image to write.")],
    model: ModelName = "face48",
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class to draw; several may be given. [default: all]"),
    ] = None,
    count: Annotated[int, typer.Option(help="Faces of each class.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of DDIM for each face.")] = 50,
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
    from emodc.explain.sample_sheet import sample_sheet
    from emodc.inference.classifier import choose_device
    from emodc.model.store import load_model
    from emodc.support.files import write_atomically

    if output.suffix.lower() != ".png":
        raise ValueError(f"--output {output}: give a file name that ends with .png")
    if not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}")
    loaded = load_model(model, choose_device(device), precision)
    with progress("steps") as advance:
        page = sample_sheet(
            loaded,
            classes or loaded.label_set.classes,
            count,
            steps=steps,
            guidance=guidance,
            seed=seed,
            progress=advance,
        )
    write_atomically(output, page)
    note(f"the image is {output}")
