"""The command ``emodc robustness``: models side by side on corrupted and attacked faces."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from emodc.cli import robustness_options as options
from emodc.cli.console import exit_if_unreadable, given_command, note, print_json, progress
from emodc.cli.options import (
    AsJson,
    Crops,
    Device,
    DryRun,
    Html,
    Limit,
    Precision,
    Prior,
    Split,
    chosen_delta,
    names_to_show,
)
from emodc.cli.robustness_options import AttackOptions, parse_severities

if TYPE_CHECKING:
    from emodc.experiments.robustness import Subject


def robustness(
    data: Crops,
    model: options.Models = ["face48"],  # noqa: B006 (typer copies it)
    split: Split = "test",
    suite: options.Suites = None,
    severities: options.Severities = "1,2,3,4,5",
    steps: options.Steps = 10,
    seed: options.Seeds = [0],  # noqa: B006
    limit: Limit = None,
    prior: Prior = None,
    plain_too: options.PlainToo = False,
    adaptive: options.AdaptiveToo = None,
    frames: options.Frames = 30,
    baseline: options.Baseline = None,
    attack: options.Attack = None,
    eps: options.Eps = None,
    norm: options.NormName = AttackOptions.norm,
    loss: options.Loss = AttackOptions.loss,
    iterations: options.Iterations = None,
    restarts: options.Restarts = AttackOptions.restarts,
    targets: options.Targets = AttackOptions.targets,
    eot: options.Eot = None,
    transfer_from: options.TransferFrom = None,
    minimal: options.Minimal = False,
    checked: options.Checked = AttackOptions.checked,
    output: options.Output = None,
    figures: options.Figures = True,
    html: Html = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Compare models on corrupted or attacked faces.

    Results are kept as they are finished: the same command resumes where it stopped, and models,
    suites and seeds can be added to it.
    """
    from emodc.data import open_data
    from emodc.experiments.robustness import Comparison
    from emodc.experiments.robustness.output import MARKDOWN, write_report
    from emodc.experiments.robustness.page import robustness_page
    from emodc.experiments.robustness.tables import summary_table
    from emodc.reports.figures import require_matplotlib
    from emodc.reports.html import check_page, write_page
    from emodc.support.locks import holding

    check_page(html)
    if figures and not dry_run:
        require_matplotlib()
    subjects = _subjects(
        model, steps, device, precision, baseline, plain_too, chosen_delta(adaptive), prior
    )
    attacker = AttackOptions(
        attack=attack,
        eps=eps,
        norm=norm,
        loss=loss,
        iterations=iterations,
        restarts=restarts,
        targets=targets,
        eot=eot,
        transfer_from=transfer_from,
        minimal=minimal,
        checked=checked,
    )
    folder = output or Path("runs") / "robustness"
    comparison = Comparison(
        subjects,
        open_data(data, split),
        folder,
        suites=suite if suite is not None else ([] if attack else ["noise-blur"]),
        severities=parse_severities(severities),
        seeds=seed,
        limit=limit,
        frames=frames,
        attack=attacker.plan(subjects),
    )
    for cost in comparison.cost():
        note(str(cost))
    if dry_run:
        return
    with holding(folder), progress("answers") as advance:
        comparison.run(advance)
        report = write_report(comparison.results, folder, baseline=baseline, figures=figures)
    if html is not None:
        write_page(html, robustness_page(report, folder, given_command()))
        note(f"the page is {html}")
    if as_json:
        print_json(report)
    else:
        typer.echo("\n".join(summary_table(report)))
    note(f"the report is {folder / MARKDOWN}")
    for left in report["not_attacked"]:
        note(f"{left['model']} was not attacked: {left['reason']}")
    if not all(finding["passed"] for finding in report["findings"]):
        note("an attack failed a sanity check: do not trust the robust accuracies the report names")
    exit_if_unreadable(len(report["skipped"]))


def _subjects(
    names: list[str],
    steps: int,
    device: str,
    precision: str,
    baseline: str | None,
    plain_too: bool,
    delta: float | None,
    prior: str | None,
) -> list["Subject"]:
    """Load the models, and name each as it calls itself, or as it was asked for where two agree."""
    from emodc.experiments.robustness import ModelSubject, SequentialSubject
    from emodc.model.label_shift import with_prior
    from emodc.model.store import load_model
    from emodc.support.devices import choose_device

    chosen = choose_device(device)
    models = [with_prior(load_model(name, chosen, precision), prior) for name in names]
    if delta is not None and all(model.decision.adaptive is None for model in models):
        raise ValueError("--adaptive requires a calibrated model: run emodc calibrate on one")
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
        raise ValueError(f"--baseline {baseline}: no such model among {', '.join(subjects)}")
    return list(subjects.values())
