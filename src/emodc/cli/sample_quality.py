"""The command ``emodc sample-quality``: generated faces, judged by an independent classifier."""

import json
from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import print_json, print_rich, progress
from emodc.cli.options import AsJson, Crops, Device, ModelName, Precision, Split
from emodc.cli.sample import Guidance, Sampler, SamplerSteps


def sample_quality(
    data: Crops,
    model: ModelName = "face48",
    judge: Annotated[
        str, typer.Option(help="Classifier that reads the faces; trained apart from the model.")
    ] = "baseline-cnn",
    split: Split = "test",
    count: Annotated[int, typer.Option(help="Faces per class.")] = 100,
    steps: SamplerSteps = 50,
    sampler: Sampler = "ddim",
    guidance: Guidance = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial noise.")] = 0,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write the report there too.")
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Measure how good generated faces are.

    A judge reads each face: does it show the class that was asked for? And its features tell how
    far the faces are from real ones (Fréchet distance), beside the distance of training faces.
    """
    from emodc.data import open_data
    from emodc.evaluation.sample_quality import sample_quality as run
    from emodc.model.store import load_model
    from emodc.reports.sample_quality import quality_table
    from emodc.support.devices import choose_device
    from emodc.support.files import write_atomically

    real, training = open_data(data, split), open_data(data, "train")
    chosen = choose_device(device)
    with progress("steps") as advance:
        report = run(
            load_model(model, chosen, precision),
            load_model(judge, chosen),
            real,
            training,
            count,
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            seed=seed,
            progress=advance,
        )
    if output is not None:
        write_atomically(output, (json.dumps(report.to_json(), indent=2) + "\n").encode())
    if as_json:
        print_json(report.to_json())
    else:
        print_rich(quality_table(report))
