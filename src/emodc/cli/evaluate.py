"""The command ``emodc evaluate``: a model on a labeled dataset."""

from pathlib import Path
from typing import Annotated

import typer

from emodc.cli.console import (
    exit_if_unreadable,
    given_command,
    is_main_process,
    note,
    print_json,
    print_rich,
    progress,
)
from emodc.cli.options import (
    Adaptive,
    AsJson,
    Budget,
    Data,
    Device,
    Html,
    Limit,
    ModelName,
    Precision,
    Seed,
    Split,
    chosen_delta,
)


def evaluate(
    data: Data,
    model: ModelName = "face48",
    split: Split = "test",
    steps: Annotated[
        int | None,
        typer.Option(help="Draws of (t, eps) per image. [default: 100, without --adaptive]"),
    ] = None,
    adaptive: Adaptive = None,
    budget: Budget = None,
    limit: Limit = None,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect",
            help="Detect, align and crop the faces first, as predict does, or use whole images.",
        ),
    ] = False,
    ignore_noise: Annotated[
        bool,
        typer.Option(
            "--ignore-noise", help="Score every image as clean: do not account for noise in it."
        ),
    ] = False,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the report; an interrupted evaluation resumes there."),
    ] = None,
    html: Html = None,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Evaluate a model or baseline on a labeled dataset."""
    from emodc.data import open_data
    from emodc.evaluation.evaluate import evaluate as run
    from emodc.evaluation.mistakes import Answered
    from emodc.evaluation.page import evaluation_page
    from emodc.model.store import load_model
    from emodc.reports.evaluation import evaluation_table
    from emodc.reports.html import check_page, write_page
    from emodc.support.devices import choose_device
    from emodc.support.distributed import join

    check_page(html)
    images = open_data(data, split)
    world = join(device)
    loaded = load_model(model, world.device or choose_device(device), precision)
    if ignore_noise:
        loaded = loaded.ignoring_noise()
    answers: list[Answered] = []
    with progress("images") as advance:
        report = run(
            loaded,
            images,
            steps=steps,
            delta=chosen_delta(adaptive),
            budget=budget,
            seed=seed,
            limit=limit,
            detect=detect,
            output=output,
            progress=advance,
            world=world,
            heard=answers.append,
        )
    if html is not None and is_main_process():
        write_page(html, evaluation_page(report, answers[0], loaded, given_command()))
        note(f"the page is {html}")
    if as_json:
        print_json(report.to_json())
    else:
        print_rich(evaluation_table(report))
    if faceless := report.n_without_face:
        note(f"no face found in {faceless} images; the report names them")
    exit_if_unreadable(report.n_skipped - faceless)
