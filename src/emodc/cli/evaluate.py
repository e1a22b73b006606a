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
    Classes,
    Data,
    Device,
    Html,
    Limit,
    ModelName,
    Precision,
    Prior,
    Seed,
    Split,
    chosen_classes,
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
    prior: Prior = None,
    classes: Classes = None,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect",
            help="Detect, align and crop the faces first, as predict does, or use whole images.",
        ),
    ] = False,
    shift: Annotated[
        str | None,
        typer.Option(
            metavar="all | SHIFT,SHIFT...",
            help="Evaluate under shifts of the data instead: none, labels, squeezed, crop, "
            "low-resolution, sharpened, lighting, jpeg, gamma.",
        ),
    ] = None,
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
    from emodc.evaluation.shifts import evaluate_shifts, parse_shifts
    from emodc.model.label_shift import with_prior
    from emodc.model.store import load_model
    from emodc.reports.evaluation import evaluation_table, shift_table
    from emodc.reports.html import check_page, write_page
    from emodc.support.devices import choose_device
    from emodc.support.distributed import join
    from emodc.support.locks import holding

    check_page(html)
    if html is not None and shift is not None:
        raise ValueError("--html shows one evaluation: leave --shift out")
    images = open_data(data, split)
    world = join(device)
    loaded = load_model(model, world.device or choose_device(device), precision)
    loaded = with_prior(loaded, prior, chosen_classes(classes))
    if ignore_noise:
        loaded = loaded.ignoring_noise()
    if shift is not None:
        if detect:
            raise ValueError("--shift changes face crops: leave --detect out")
        with holding(output, world), progress("images") as advance:
            figures = evaluate_shifts(
                loaded,
                data,
                split,
                parse_shifts(shift, data),
                steps=steps,
                delta=chosen_delta(adaptive),
                budget=budget,
                seed=seed,
                limit=limit,
                output=output,
                progress=advance,
                world=world,
            )
        rows = [each.to_json() for each in figures]
        title = f"{loaded.name} on {data} {split}, prior {prior or 'of the model'}"
        if as_json:
            print_json({"model": loaded.name, "prior": prior, "split": split, "shifts": rows})
        else:
            print_rich(shift_table(title, rows))
        return
    answers: list[Answered] = []
    with holding(output, world), progress("images") as advance:
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
