"""The command ``emodc certify``: how far no attack can alter the answers."""

from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import exit_if_unreadable, note, print_json, progress
from emodc.cli.options import (
    AsJson,
    Crops,
    Device,
    DryRun,
    Limit,
    Precision,
    Split,
    names_to_show,
)


def certify(
    data: Crops,
    model: Annotated[
        list[str],
        typer.Option("--model", help="Model or baseline; repeatable. As for emodc evaluate."),
    ] = ["face48"],  # noqa: B006 (typer copies it)
    split: Split = "test",
    sigma: Annotated[
        list[float],
        typer.Option(help="Noise to smooth with, in units of a pixel's full range; repeatable."),
    ] = [0.12, 0.25],  # noqa: B006
    samples: Annotated[
        int, typer.Option(min=1, help="Noisy images per face that estimate the probability.")
    ] = 1000,
    selection: Annotated[
        int, typer.Option(min=1, help="Further noisy images per face that choose the class.")
    ] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Draws of (t, eps) for each noisy image.")] = 4,
    alpha: Annotated[
        float, typer.Option(help="Allowed probability that a certificate does not hold.")
    ] = 0.001,
    attacked: Annotated[
        int, typer.Option(min=0, help="Certified faces per model to attack as a check.")
    ] = 5,
    limit: Limit = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of noise, draws and faces.")] = 0,
    output: Annotated[
        Path,
        typer.Option(help="Folder of the report; an interrupted certification resumes there."),
    ] = Path("runs/certify"),
    dry_run: DryRun = False,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Certify answers against every attack within an L2 distance, by randomized smoothing.

    Takes models as they are, baselines included. Costs about a thousand answers per face and noise
    level; --dry-run tells how long that takes here.
    """
    from emodc.data import open_data
    from emodc.experiments.certification import Certification
    from emodc.experiments.certification.output import MARKDOWN, certified_table, write_report
    from emodc.experiments.certification.summary import summarize
    from emodc.inference.smoothing import Smoothing
    from emodc.model.store import load_model
    from emodc.reports.figures import require_matplotlib
    from emodc.support.devices import choose_device
    from emodc.support.locks import holding

    require_matplotlib()
    chosen = choose_device(device)
    models = [load_model(name, chosen, precision) for name in model]
    names = names_to_show([loaded.name for loaded in models], model)
    work = Certification(
        dict(zip(names, models, strict=True)),
        open_data(data, split),
        output,
        [Smoothing(level, selection, samples, steps, seed) for level in sorted(set(sigma))],
        limit=limit,
        alpha=alpha,
        attacked=attacked,
    )
    for cost in work.costs():
        note(str(cost))
    if dry_run:
        return
    with holding(output):
        with progress("faces") as advance:
            work.run(advance)
        with progress("attacked faces") as advance:
            report = summarize(work, advance)
        write_report(report, output)
    if as_json:
        print_json(report)
    else:
        typer.echo("\n".join(certified_table(report)))
    note(f"the report is {output / MARKDOWN}")
    for row in report["attacks"]:
        if row["broken"]:
            note(
                f"{row['model']}: {row['broken']} of {row['faces']} certificates were broken, more "
                "than chance allows: do not trust this report"
            )
    exit_if_unreadable(len(report["skipped"]))
