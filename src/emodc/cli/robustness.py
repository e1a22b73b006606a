"""The command ``emodc robustness``: models side by side on corrupted and attacked faces."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from emodc.cli.console import complain, note, print_json, progress
from emodc.cli.options import Device, Limit, Precision, chosen_delta, names_to_show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emodc.attacks.losses import LossName
    from emodc.attacks.threat_model import Norm
    from emodc.experiments.robustness import AttackPlan, Subject
    from emodc.experiments.robustness.attack_tasks import Method


def robustness(
    data: Annotated[
        str, typer.Option(metavar="NAME:PATH", help="The dataset: face crops, as they come.")
    ],
    model: Annotated[
        list[str],
        typer.Option(
            help="A bundled model's name, a folder, a hub id or a YAML file; once for each."
        ),
    ] = ["face48"],  # noqa: B006 (typer copies it)
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="noise-blur, rafdb-c, all (corruptions) or rafdb-p (sequences); several may be "
            "given. [default: noise-blur, or none beside --attack]"
        ),
    ] = None,
    severities: Annotated[str, typer.Option(help="Of the corruptions, 1 to 5.")] = "1,2,3,4,5",
    steps: Annotated[int, typer.Option(help="Draws for each answer.")] = 10,
    seed: Annotated[
        list[int],
        typer.Option(min=0, help="Of draws, corruptions and attacks; the mean of several is told."),
    ] = [0],  # noqa: B006
    limit: Limit = None,
    plain_too: Annotated[
        bool,
        typer.Option(
            "--plain-too",
            help="Test models that account for noise with plain scoring as well, as NAME (plain).",
        ),
    ] = False,
    adaptive: Annotated[
        float | None,
        typer.Option(
            metavar="[DELTA]",
            help="Test calibrated models with sequential scoring as well, as NAME (sequential); "
            "see predict. [default DELTA: 0.02]",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Of each sequence, 2 to 60.")] = 30,
    baseline: Annotated[
        str | None,
        typer.Option(help="The model that the others are compared with. [default: the last one]"),
    ] = None,
    attack: Annotated[str | None, typer.Option(help="apgd, pgd or square.")] = None,
    eps: Annotated[
        list[str] | None,
        typer.Option(help="Greatest change by the attack, such as 1/255; several may be given."),
    ] = None,
    norm: Annotated[str, typer.Option(help="linf or l2: how the change is measured.")] = "linf",
    loss: Annotated[str, typer.Option(help="dlr or ce: what apgd and pgd raise.")] = "dlr",
    iterations: Annotated[
        int | None,
        typer.Option(help="Steps of the attack. [default: 20; of square: 1000 queries]"),
    ] = None,
    restarts: Annotated[int, typer.Option(help="Random starts of apgd and pgd.")] = 1,
    targets: Annotated[int, typer.Option(help="Wrong classes aimed at in turn; 0: any.")] = 0,
    eot: Annotated[
        int | None,
        typer.Option(
            help="Attack the defence by fresh draws, too, averaging over so many banks of draws."
        ),
    ] = None,
    transfer_from: Annotated[
        str | None,
        typer.Option(help="Show the other models images that were made on this one, too."),
    ] = None,
    least: Annotated[
        bool, typer.Option("--least", help="Search the least perturbations, linf and l2, too.")
    ] = False,
    checked: Annotated[int, typer.Option(help="Faces to check the attack on; 0: none.")] = 16,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for reports and figures; a run interrupted there goes on. "
            "[default: runs/robustness]"
        ),
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw them; takes the extra figures.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell the cost and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Compare models on faces that are corrupted, or attacked.

    Every result is kept when it is finished; the same command goes on where it stopped, and more
    models, suites and seeds can be added to it.
    """
    from emodc.data import open_data
    from emodc.experiments.robustness import Comparison
    from emodc.experiments.robustness.output import MARKDOWN, write_report
    from emodc.experiments.robustness.tables import summary_table
    from emodc.reports.figures import require_matplotlib

    if figures and not dry_run:
        require_matplotlib()
    subjects = _subjects(
        model, steps, device, precision, baseline, plain_too, chosen_delta(adaptive)
    )
    plan = _attack_plan(
        *(attack, eps, norm, loss, iterations, restarts, targets, eot, least, checked),
        _source(transfer_from, subjects),
    )
    folder = output or Path("runs") / "robustness"
    levels = _numbers(severities)
    images = open_data(data, split)
    comparison = Comparison(
        subjects,
        images,
        folder,
        suites=suite if suite is not None else ([] if attack else ["noise-blur"]),
        severities=levels,
        seeds=seed,
        limit=limit,
        frames=frames,
        attack=plan,
    )
    for cost in comparison.cost():
        note(str(cost))
    if dry_run:
        return
    with progress("answers") as advance:
        comparison.run(advance)
    report = write_report(comparison.results, folder, baseline=baseline, figures=figures)
    if as_json:
        print_json(report)
    else:
        typer.echo("\n".join(summary_table(report)))
    note(f"the report is {folder / MARKDOWN}")
    for left in report["not_attacked"]:
        note(f"{left['model']} was not attacked: {left['reason']}")
    if not all(finding["passed"] for finding in report["findings"]):
        note("a check of the attack failed: the report tells which robust accuracies not to trust")
    if unreadable := len(report["skipped"]):
        complain(f"{unreadable} images could not be read; the report names them")
        raise typer.Exit(1)


def _subjects(
    names: list[str],
    steps: int,
    device: str,
    precision: str,
    baseline: str | None,
    plain_too: bool,
    delta: float | None,
) -> list["Subject"]:
    """Load the models, and name each as it calls itself, or as it was asked for where two agree."""
    from emodc.experiments.robustness import ModelSubject, SequentialSubject
    from emodc.model.store import load_model
    from emodc.support.devices import choose_device

    chosen = choose_device(device)
    models = [load_model(name, chosen, precision) for name in names]
    if delta is not None and all(model.decision.adaptive is None for model in models):
        raise ValueError("--adaptive takes a calibrated model: run emodc calibrate on one")
    shown = names_to_show([model.name for model in models], names)
    subjects: dict[str, Subject] = {}
    for model, name in zip(models, shown, strict=True):
        if plain_too and model.decision.noise_floor is not None:
            plain = f"{name} (plain)"
            subjects[plain] = ModelSubject(model.ignoring_noise(), steps, plain)
        if delta is not None and model.decision.adaptive is not None:
            sequential = f"{name} (sequential)"
            subjects[sequential] = SequentialSubject(model, delta, sequential)
        subjects[name] = ModelSubject(model, steps, name)
    if baseline is not None and baseline not in subjects:
        raise ValueError(f"--baseline {baseline} is none of the models: {', '.join(subjects)}")
    return list(subjects.values())


def _source(name: str | None, subjects: "Sequence[Subject]") -> "Subject | None":
    """Return the subject of a name."""
    if name is None:
        return None
    known = {subject.name: subject for subject in subjects}
    if name not in known or len(known) == 1:
        raise ValueError(f"--transfer-from {name} is none of several models: {', '.join(known)}")
    return known[name]


def _attack_plan(
    attack: str | None,
    eps: list[str] | None,
    norm: str,
    loss: str,
    iterations: int | None,
    restarts: int,
    targets: int,
    eot: int | None,
    least: bool,
    checked: int,
    source: "Subject | None",
) -> "AttackPlan | None":
    if attack is None:
        if eps or eot is not None or least or source is not None:
            raise ValueError(
                "--eps, --eot, --least and --transfer-from belong to an attack: give --attack apgd"
            )
        return None
    from emodc.experiments.robustness import AttackPlan

    usual = 1000 if attack == "square" else 20
    return AttackPlan(
        method=cast("Method", attack),  # what is not known is refused there
        eps=tuple(map(_fraction, eps or ["1/255"])),
        norm=cast("Norm", norm),
        loss=cast("LossName", loss),
        iterations=usual if iterations is None else iterations,
        restarts=restarts,
        targets=targets,
        eot=eot,
        minimal=least,
        checked=checked,
        transfer_from=source,
    )


def _fraction(text: str) -> float:
    """Read "1/255", "0.5/255" or "0.01"."""
    over, slash, under = text.partition("/")
    try:
        return float(Fraction(over) / Fraction(under)) if slash else float(over)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--eps {text}: give a number or a fraction, such as 1/255") from None


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--severities {text}: give numbers such as 1,3,5") from None
