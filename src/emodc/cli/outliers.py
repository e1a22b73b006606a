"""The command ``emodc outliers``: can a model tell what is no such face?"""

from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import exit_if_unreadable, note, print_json, progress
from emodc.cli.options import AsJson, Crops, Device, Limit, Precision, Split, names_to_show


def outliers(
    data: Crops,
    model: Annotated[
        list[str],
        typer.Option("--model", help="Model or baseline; repeatable. As for emodc evaluate."),
    ] = ["face48", "baseline-cnn"],  # noqa: B006 (typer copies it)
    split: Split = "test",
    limit: Limit = 200,
    count: Annotated[int, typer.Option(min=1, help="Images of each kind of other thing.")] = 100,
    folder: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of your own images that show no face; repeatable."),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Draws of (t, eps) behind the largest probability.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of faces, patches and draws.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("runs/outliers"),
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Measure how well models tell typical faces from what is no such face.

    Faces upside down, cut, occluded or of few pixels, noise, textures, objects and drawn faces.
    Calibrated diffusion models have a p-value for that; the largest probability and the energy of a
    discriminative network stand beside it.
    """
    from emodc.data import open_data
    from emodc.experiments.outliers import Outliers
    from emodc.experiments.outliers.kinds import OTHER, SPOILED, folder_patches
    from emodc.experiments.outliers.output import (
        MARKDOWN,
        outlier_table,
        summarize,
        write_report,
    )
    from emodc.model.store import load_model
    from emodc.support.devices import choose_device
    from emodc.support.locks import holding

    chosen = choose_device(device)
    models = [load_model(name, chosen, precision) for name in model]
    names = names_to_show([loaded.name for loaded in models], model)
    work = Outliers(
        dict(zip(names, models, strict=True)),
        open_data(data, split),
        limit=limit,
        seed=seed,
        steps=steps,
    )
    shown = {kind: [spoil(crop) for crop in work.crops()] for kind, spoil in SPOILED.items()}
    for kind, make in OTHER.items():
        try:
            shown[kind] = make(count, seed)
        except ImportError as error:
            note(f"{kind} are left out: {error}")
    shown |= {path.name: folder_patches(path, count, seed) for path in folder or []}
    with holding(output):
        with progress("images") as advance:
            found = work.run(shown, advance)
        report = summarize(work, found, shown)
        write_report(report, output)
    if as_json:
        print_json(report)
    else:
        typer.echo("\n".join(outlier_table(report)))
    note(f"the report is {output / MARKDOWN}")
    exit_if_unreadable(len(report["skipped"]))
