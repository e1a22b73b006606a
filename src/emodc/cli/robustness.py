"""The command ``emodc robustness``: models side by side on corrupted and attacked faces."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from emodc.cli import robustness_options as options
from emodc.cli.console import complain, note, print_json, progress
from emodc.cli.options import Device, Limit, Precision, chosen_delta, names_to_show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emodc.attacks.losses import LossName
    from emodc.attacks.threat_model import Norm
    from emodc.experiments.robustness import AttackPlan, Subject
    from emodc.experiments.robustness.attack_tasks import Method


def robustness(
    data: options.Data,
    model: options.Models = ["face48"],  # noqa: B006 (typer copies it)
    split: options.Split = "test",
    suite: options.Suites = None,
    severities: options.Severities = "1,2,3,4,5",
    steps: options.Steps = 10,
    seed: options.Seeds = [0],  # noqa: B006
    limit: Limit = None,
    plain_too: options.PlainToo = False,
    adaptive: options.AdaptiveToo = None,
    frames: options.Frames = 30,
    baseline: options.Baseline = None,
    attack: options.Attack = None,
    eps: options.Eps = None,
    norm: options.NormName = "linf",
    loss: options.Loss = "dlr",
    iterations: options.Iterations = None,
    restarts: options.Restarts = 1,
    targets: options.Targets = 0,
    eot: options.Eot = None,
    transfer_from: options.TransferFrom = None,
    minimal: options.Minimal = False,
    checked: options.Checked = 16,
    output: options.Output = None,
    figures: options.Figures = True,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
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
        *(attack, eps, norm, loss, iterations, restarts, targets, eot, minimal, checked),
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
    minimal: bool,
    checked: int,
    source: "Subject | None",
) -> "AttackPlan | None":
    if attack is None:
        if eps or eot is not None or minimal or source is not None:
            raise ValueError(
                "--eps, --eot, --minimal and --transfer-from belong to an attack: give "
                "--attack apgd"
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
        minimal=minimal,
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
