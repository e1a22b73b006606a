"""The options of ``emodc robustness``: what is shown, to whom, and what the attacker may do."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str, typer.Option(metavar="NAME:PATH", help="The dataset: face crops, as they come.")
]
Models = Annotated[
    list[str],
    typer.Option(help="A bundled model's name, a folder, a hub id or a YAML file; once for each."),
]
Split = Annotated[str, typer.Option(help="train, validation or test.")]
Suites = Annotated[
    list[str] | None,
    typer.Option(
        help="noise-blur, rafdb-c, all (corruptions) or rafdb-p (sequences); several may be "
        "given. [default: noise-blur, or none beside --attack]"
    ),
]
Severities = Annotated[str, typer.Option(help="Of the corruptions, 1 to 5.")]
Steps = Annotated[int, typer.Option(help="Draws for each answer.")]
Seeds = Annotated[
    list[int],
    typer.Option(min=0, help="Of draws, corruptions and attacks; the mean of several is told."),
]
PlainToo = Annotated[
    bool,
    typer.Option(
        "--plain-too",
        help="Test models that account for noise with plain scoring as well, as NAME (plain).",
    ),
]
AdaptiveToo = Annotated[
    float | None,
    typer.Option(
        metavar="[DELTA]",
        help="Test calibrated models with sequential scoring as well, as NAME (sequential); "
        "see predict. [default DELTA: 0.02]",
    ),
]
Frames = Annotated[int, typer.Option(help="Of each sequence, 2 to 60.")]
Baseline = Annotated[
    str | None,
    typer.Option(help="The model that the others are compared with. [default: the last one]"),
]
Attack = Annotated[str | None, typer.Option(help="apgd, pgd or square.")]
Eps = Annotated[
    list[str] | None,
    typer.Option(help="Greatest change by the attack, such as 1/255; several may be given."),
]
NormName = Annotated[str, typer.Option(help="linf or l2: how the change is measured.")]
Loss = Annotated[str, typer.Option(help="dlr or ce: what apgd and pgd raise.")]
Iterations = Annotated[
    int | None, typer.Option(help="Steps of the attack. [default: 20; of square: 1000 queries]")
]
Restarts = Annotated[int, typer.Option(help="Random starts of apgd and pgd.")]
Targets = Annotated[int, typer.Option(help="Wrong classes aimed at in turn; 0: any.")]
Eot = Annotated[
    int | None,
    typer.Option(
        help="Attack the defence by fresh draws, too, averaging over so many banks of draws."
    ),
]
TransferFrom = Annotated[
    str | None,
    typer.Option(help="Show the other models the images of attacks on this one, too."),
]
Minimal = Annotated[
    bool,
    typer.Option("--minimal", help="Search the minimal perturbations, linf and l2, too."),
]
Checked = Annotated[int, typer.Option(help="Faces to check the attack on; 0: none.")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder for reports and figures; a run interrupted there goes on. "
        "[default: runs/robustness]"
    ),
]
Figures = Annotated[bool, typer.Option(help="Draw them; takes the extra figures.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell the cost and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
