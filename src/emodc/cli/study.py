"""The command ``emodc study``: training objectives side by side."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import note, print_error, print_json, progress, show_log
from emodc.cli.options import AsJson, Changes, Crops, DryRun, Html, Init, Limit, TrainingDevice

_BASE = "study"


def study(
    data: Crops,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the study; an interrupted one resumes there. [default: runs/study, or "
            "runs/study-quick]"
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Base, margin and AMDiT only, one seed, fewer samples and images."
        ),
    ] = False,
    recipe: Annotated[
        str,
        typer.Option(help="Recipe that the arms vary: a name (see emodc recipes) or .yaml file."),
    ] = _BASE,
    changes: Changes = None,
    init: Init = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Seeds per main arm. [default: 3; 1 with --quick]"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Draws of (t, eps) per test image.")] = 100,
    limit: Limit = None,
    html: Html = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    device: TrainingDevice = "auto",
) -> None:
    """Train with every objective, choose on validation data and compare on test images.

    The same command resumes where it stopped. Started several times, it shares the work.
    """
    from emodc.data import open_release
    from emodc.experiments.study import Study
    from emodc.experiments.study.output import MARKDOWN, write_study
    from emodc.experiments.study.page import study_page
    from emodc.experiments.study.runs import Splits
    from emodc.experiments.study.summary import summarize_study
    from emodc.experiments.study.tables import arm_table
    from emodc.model.store import load_model
    from emodc.reports.figures import require_matplotlib
    from emodc.reports.html import check_page, write_page
    from emodc.support.distributed import join
    from emodc.support.timing import duration
    from emodc.training.recipe import load_recipe

    if join(device).size > 1:
        raise ValueError(
            "one process trains each run: start the command several times, without a launcher"
        )
    require_matplotlib()
    check_page(html)
    release = open_release(data)
    splits = Splits(*(release.split(name) for name in ("train", "validation", "test")))
    base = load_recipe(recipe, changes or ())
    folder = output or Path("runs") / ("study-quick" if quick else "study")
    plan = Study(
        base,
        splits,
        folder,
        quick=quick,
        seeds=seeds,
        steps=steps,
        limit=limit,
        device=device,
        initial=None if init is None else load_model(init),
    )
    if plan.base.soft_labels != base.soft_labels:
        note(f"{release.name} has no annotators' votes: soft_labels is off")
    for left in plan.left_out:
        note(f"{left['arm']} is left out: {left['reason']}")
    seconds = 0.0
    for cost in plan.costs():
        note(str(cost))
        seconds += cost.seconds
    note(f"in all about {duration(seconds)}, estimated from a short measurement")
    if dry_run:
        return
    show_log()
    command = _command(release.name, quick, recipe, changes or [], init, seeds, steps, limit)
    with progress("") as advance:
        for results in plan.run(advance, note):
            report = summarize_study(plan, results, command)
            write_study(report, folder)
    if html is not None:
        write_page(html, study_page(report, folder))
        note(f"the page is {html}")
    if as_json:
        print_json(report)
    else:
        typer.echo("\n".join(arm_table(report)))
    note(f"the report is {folder / MARKDOWN}")
    if report["diverged"]:
        print_error(f"{len(report['diverged'])} runs diverged; the report names them")
        raise typer.Exit(1)


def _command(
    data: str,
    quick: bool,
    recipe: str,
    changes: list[str],
    init: str | None,
    seeds: int | None,
    steps: int,
    limit: int | None,
) -> str:
    """Return the command as others would give it: paths are theirs."""
    words = ["emodc", "study", "--data", f"{data}:/path/to/data"]
    words += ["--quick"] if quick else []
    words += ["--recipe", Path(recipe).name] if recipe != _BASE else []
    words += [word for change in changes for word in ("--set", change)]
    words += ["--init", Path(init).name] if init is not None else []
    words += ["--seeds", str(seeds)] if seeds is not None else []
    words += ["--steps", str(steps)]
    words += ["--limit", str(limit)] if limit is not None else []
    return shlex.join(words)
