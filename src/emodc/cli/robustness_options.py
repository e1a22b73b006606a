"""The options of ``emodc robustness``: what is shown to which models, and the attack."""

from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emodc.attacks.losses import LossName
    from emodc.attacks.threat_model import Norm
    from emodc.experiments.robustness import AttackPlan, Subject
    from emodc.experiments.robustness.attack_tasks import Method

_ITERATIONS = {"square": 1000}  # others: 20

Models = Annotated[
    list[str],
    typer.Option("--model", help="Bundled model, folder, hub id or .yaml file; repeatable."),
]
Suites = Annotated[
    list[str] | None,
    typer.Option(
        "--suite",
        help="noise-blur, rafdb-c, all (corruptions) or rafdb-p (sequences); repeatable. "
        "[default: noise-blur; with --attack: none]",
    ),
]
Severities = Annotated[str, typer.Option(help="Severities of the corruptions, 1 to 5.")]
Steps = Annotated[int, typer.Option(help="Draws of (t, eps) per image.")]
Seeds = Annotated[
    list[int],
    typer.Option(
        "--seed",
        min=0,
        help="Seed of draws, corruptions and attacks; repeat it to report means.",
    ),
]
PlainToo = Annotated[
    bool,
    typer.Option(
        "--plain-too",
        help="Also test models that account for noise with plain scoring, as NAME (plain).",
    ),
]
AdaptiveToo = Annotated[
    float | None,
    typer.Option(
        metavar="[DELTA]",
        help="Also test calibrated models with early stopping, as NAME (sequential); see "
        "predict. [default DELTA: 0.02]",
    ),
]
Frames = Annotated[int, typer.Option(help="Frames per sequence, 2 to 60.")]
Baseline = Annotated[
    str | None,
    typer.Option(help="Model that the others are compared with. [default: the last one]"),
]
Attack = Annotated[str | None, typer.Option(help="apgd, pgd or square.")]
Eps = Annotated[
    list[str] | None,
    typer.Option(help="Largest perturbation, such as 1/255; repeatable. [default: 1/255]"),
]
NormName = Annotated[str, typer.Option(help="Norm of the perturbation: linf or l2.")]
Loss = Annotated[str, typer.Option(help="Loss that apgd and pgd maximize: dlr or ce.")]
Iterations = Annotated[
    int | None, typer.Option(help="Steps of the attack. [default: 20; of square: 1000 queries]")
]
Restarts = Annotated[int, typer.Option(help="Random restarts of apgd and pgd.")]
Targets = Annotated[int, typer.Option(help="Wrong classes targeted in turn; 0: untargeted.")]
Eot = Annotated[
    int | None,
    typer.Option(
        help="Also attack the defense by fresh draws, averaging every query over this many banks "
        "of draws (EOT)."
    ),
]
TransferFrom = Annotated[
    str | None,
    typer.Option(help="Also transfer the attacks on this model to the others."),
]
Minimal = Annotated[
    bool,
    typer.Option(
        "--minimal", help="Also search the minimal adversarial perturbations, linf and l2."
    ),
]
Checked = Annotated[
    int, typer.Option(help="Faces for the sanity checks of the attack; 0: no checks.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder for reports and figures; an interrupted comparison resumes there. "
        "[default: runs/robustness]"
    ),
]
Figures = Annotated[bool, typer.Option(help="Draw figures; requires the extra figures.")]


@dataclass(frozen=True)
class AttackOptions:
    """What the command line says of the attack; the fields are options."""

    attack: str | None = None
    eps: list[str] | None = None
    norm: str = "linf"
    loss: str = "dlr"
    iterations: int | None = None
    restarts: int = 1
    targets: int = 0
    eot: int | None = None
    transfer_from: str | None = None
    minimal: bool = False
    checked: int = 16

    def plan(self, subjects: "Sequence[Subject]") -> "AttackPlan | None":
        """Return the attack on these subjects; none without ``--attack``.

        Raises:
            ValueError: an option has no such value, or belongs to an attack that is not asked for.
        """
        if self.attack is None:
            changed = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
            if changed:
                names = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
                raise ValueError(f"{names}: give --attack, to which it belongs, as well")
            return None
        from emodc.experiments.robustness import AttackPlan

        usual = _ITERATIONS.get(self.attack, 20)
        return AttackPlan(
            method=cast("Method", self.attack),  # unknown values are refused there
            eps=tuple(map(_fraction, self.eps or ["1/255"])),
            norm=cast("Norm", self.norm),
            loss=cast("LossName", self.loss),
            iterations=usual if self.iterations is None else self.iterations,
            restarts=self.restarts,
            targets=self.targets,
            eot=self.eot,
            minimal=self.minimal,
            checked=self.checked,
            transfer_from=self._source(subjects),
        )

    def _source(self, subjects: "Sequence[Subject]") -> "Subject | None":
        name, known = self.transfer_from, {subject.name: subject for subject in subjects}
        if name is None:
            return None
        if len(known) == 1:
            raise ValueError(f"--transfer-from {name}: give at least two models")
        if name not in known:
            raise ValueError(f"--transfer-from {name}: no such model among {', '.join(known)}")
        return known[name]


def parse_severities(text: str) -> list[int]:
    """Read "1,3,5".

    Raises:
        ValueError: it is something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--severities {text}: give numbers such as 1,3,5") from None


def _fraction(text: str) -> float:
    """Read "1/255", "0.5/255" or "0.01"."""
    over, slash, under = text.partition("/")
    try:
        return float(Fraction(over) / Fraction(under)) if slash else float(over)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--eps {text}: give a number or a fraction, such as 1/255") from None
