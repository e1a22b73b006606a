"""Attacks on the subjects: the threat model, the defenses, and what is measured."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch

from emodc.attacks.gradient import GradientAttack
from emodc.attacks.losses import LossName
from emodc.attacks.minimal_perturbation import minimal_perturbation
from emodc.attacks.sanity import check_attack
from emodc.attacks.search import Attack, Draws, FixedDraws, FreshDraws
from emodc.attacks.square import Square
from emodc.attacks.threat_model import NORMS, Images, Norm
from emodc.attacks.victims import Victim, predictions
from emodc.evaluation.face_sample import shared_columns
from emodc.experiments.robustness.subjects import Subject
from emodc.support.results import Result

Method = Literal["apgd", "pgd", "square"]
METHODS: tuple[Method, ...] = get_args(Method)

_QUERIES = 200  # of the black-box attack among the checks
_ROUNDS = 8  # of the search for the minimal perturbation

# For the estimate of costs: network evaluations that one with its gradient counts, and attacks in
# all checks.
_GRADIENT, _CHECKS = 3, 7

_FIRST: dict[Norm, float] = {"linf": 1 / 255, "l2": 0.25}  # where the search begins


@dataclass(frozen=True, kw_only=True)
class AttackPlan:
    """What the attacker may do, and how often the defender is asked.

    Attributes:
        method: ``apgd`` and ``pgd`` follow the gradient, ``square`` asks for answers only.
        eps: greatest distances from the clean image, in units of the full range.
        norm: ``linf`` or ``l2``.
        loss: ``ce`` or ``dlr``, what a gradient attack raises.
        iterations: gradients for each restart, or queries of ``square``.
        restarts: random starting points of a gradient attack.
        targets: wrong classes that a gradient attack aims at in turn; 0 aims at any.
        eot: attack the defense that takes fresh draws for every image, too, averaging over so
            many banks of draws in every query; not if None.
        evaluations: answers of that defense to each attacked image.
        minimal: search the minimal adversarial perturbation of each face, in both norms, too.
        checked: faces that the sanity checks are made on; 0 makes none.
        transfer_from: attack all others by transfer from this subject, too.

    Raises:
        ValueError: a value is not known or out of range, or no gradient attack can be made on
            ``transfer_from``.
    """

    method: Method = "apgd"
    eps: tuple[float, ...] = (1 / 255,)
    norm: Norm = "linf"
    loss: LossName = "dlr"
    iterations: int = 20
    restarts: int = 1
    targets: int = 0
    eot: int | None = None
    evaluations: int = 5
    minimal: bool = False
    checked: int = 16
    transfer_from: Subject | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("attack", self.method, METHODS),
            ("norm", self.norm, NORMS),
            ("loss", self.loss, get_args(LossName)),
        ):
            if value not in known:
                raise ValueError(f"unknown {name} '{value}': known are {', '.join(known)}")
        if not self.eps or min(self.eps) <= 0:
            raise ValueError("an attack needs at least one eps, and all of them above 0")
        if self.evaluations < 1 or self.checked < 0:
            raise ValueError("evaluations must be at least 1, and checked faces not below 0")
        if self.method == "square" and (self.minimal or self.targets):
            raise ValueError(
                "square aims at no class and searches no minimal perturbation: use apgd or pgd"
            )
        if self.transfer_from is not None and (
            self.method == "square" or not self.transfer_from.differentiable
        ):
            raise ValueError(
                "transferred images are made by apgd or pgd, on a model that has gradients: not "
                f"by {self.method} on {self.transfer_from.name}"
            )
        self.attack()
        FreshDraws(eot=1 if self.eot is None else self.eot)

    def attack(self) -> GradientAttack | Square:
        """Return the attack."""
        if self.method == "square":
            return Square(queries=self.iterations)
        return GradientAttack(
            method=self.method,
            loss=self.loss,
            steps=self.iterations,
            restarts=self.restarts,
            targets=self.targets,
        )


@dataclass(frozen=True)
class Task:
    """One measurement of an attack on one subject.

    Attributes:
        kind: what is measured: ``robust`` accuracy, the minimal (``least``) perturbation, or the
            ``checks``.
        settings: JSON values: everything that decides the result, beside subject and faces; they
            stand beside it in the report.
        source: on whom the images are made: the subject itself, its surrogate, or another.
        network_evaluations: of the source for each face, at most; one with its gradient counts
            three.
        answers: of the subject to the images of each face.
        run: measures.
    """

    kind: Literal["robust", "least", "checks"]
    settings: dict[str, Any]
    source: Subject
    network_evaluations: int
    answers: int
    run: Callable[[Victim, Images], Result]

    @property
    def file(self) -> str:
        """The name under which the result is kept: one for each choice of settings."""
        described = json.dumps(self.settings, sort_keys=True)
        code = hashlib.sha256(described.encode()).hexdigest()[:12]
        return f"{self.settings['attack']}-{self.kind}-{self.settings['norm']}-{code}"


def tasks_of(plan: AttackPlan, subject: Subject, seed: int) -> list[Task]:
    """Return what is to be measured of one subject: nothing if the attack cannot be made on it.

    Args:
        plan: the attack.
        subject: what is attacked.
        seed: of the deployed rule's fixed draws and of what is random in the attack.
    """
    square = plan.method == "square"
    sources = [subject if square else subject.surrogate or subject]
    if plan.transfer_from is not None and plan.transfer_from is not subject:
        sources.append(plan.transfer_from)
    able = [source for source in sources if square or source.differentiable]
    return [task for source in able for task in _tasks_on(plan, subject, source, seed)]


def _tasks_on(plan: AttackPlan, subject: Subject, source: Subject, seed: int) -> list[Task]:
    """Return what is measured with images that are made on a source.

    Another source than the subject is attacked to the end, for an image that only just fools it
    may not fool the subject. Checks and minimal perturbations would be its own: there are none.
    """
    attack, exact = plan.attack(), source is subject
    attacker: dict[str, Any] = {"attack": plan.method, "seed": seed, "draws": subject.draws}
    if not exact:
        attack = replace(attack, stop_when_fooled=False)
        attacker |= {"made_on": source.name, "draws_there": source.draws}
    if isinstance(attack, GradientAttack):
        attacker |= {name: value for name, value in asdict(attack).items() if name != "method"}
    else:
        attacker |= {"queries": attack.queries}
    answer = max(source.draws, 1)
    cost = answer * plan.iterations * plan.restarts * max(plan.targets, 1)
    if isinstance(attack, GradientAttack):
        cost *= _GRADIENT
    tasks = []
    for defense, draws, evaluations in _defenses(plan, subject, source, seed):
        # At which eps, with which draws, against whom: what "robust" means is nothing without it.
        eot = draws.eot if isinstance(draws, FreshDraws) else 1
        shared = attacker | {
            "norm": plan.norm,
            "defence": defense,
            "eot": eot,
            "evaluations": evaluations,
        }
        each = eot * cost
        for eps in plan.eps:
            trial = _Trial(attack, eps, plan.norm, draws, evaluations, seed)
            settings = shared | {"eps": eps}
            tasks.append(Task("robust", settings, source, each, evaluations, trial.robust))
        if plan.checked and exact and isinstance(attack, GradientAttack):
            eps = sorted(plan.eps)[len(plan.eps) // 2]
            trial = _Trial(attack, eps, plan.norm, draws, evaluations, seed)
            known = shared | {"eps": eps, "faces": plan.checked}
            asked = _CHECKS * each + eot * _QUERIES * answer
            tasks.append(Task("checks", known, source, asked, _CHECKS * evaluations, trial.checks))
    if plan.minimal and exact and isinstance(attack, GradientAttack):
        for norm in NORMS:
            defense, draws, _ = _defenses(plan, subject, source, seed)[0]
            search = partial(_minimal, attack, norm, seed)
            settings = attacker | {"norm": norm, "defence": defense}
            tasks.append(Task("least", settings, source, _ROUNDS * cost, 0, search))
    return tasks


def _defenses(
    plan: AttackPlan, subject: Subject, source: Subject, seed: int
) -> list[tuple[str, Draws, int]]:
    """Return the defenses by name, their draws, and how often each is asked."""
    if subject.draws == 0:
        return [("no draws", FixedDraws(seed), 1)]
    known: list[tuple[str, Draws, int]] = [("fixed draws", FixedDraws(seed), 1)]
    if plan.eot is not None:
        eot = plan.eot if source.draws else 1  # without draws all queries are alike
        known.append(("fresh draws", FreshDraws(eot, seed), plan.evaluations))
    return known


def victim_of(task: Task, subject: Subject, classes: Sequence[str]) -> Victim:
    """Return whose answers an attack raises, and whose answers judge it, among some classes.

    Args:
        task: says on whom images are made.
        subject: who judges.
        classes: K', which both have.
    """

    def restricted(asked: Subject) -> Victim:
        own, columns = asked.victim(), shared_columns(asked.label_set, classes)
        return replace(own, answer=lambda x, seed: own.answer(x, seed)[:, columns.to(x.device)])

    victim = restricted(task.source)
    if task.source is subject:
        return victim
    return replace(victim, deployed=restricted(subject).answer)


@dataclass(frozen=True)
class _Trial:
    """An attack at one epsilon, and who judges it."""

    attack: Attack
    eps: float
    norm: Norm
    draws: Draws
    evaluations: int
    seed: int

    def robust(self, victim: Victim, images: Images) -> Result:
        """Return in what share of the evaluations each image is classified correctly."""
        found = self.attack(victim, images, self.eps, self.norm, self.draws, self.seed)
        answers = predictions(victim, found.pixels, self.draws.defender(self.evaluations))  # (B, R)
        right = (answers == images.labels.unsqueeze(1)).double().mean(dim=1)
        return Result({"right": right.cpu()}, {})

    def checks(self, victim: Victim, images: Images) -> Result:
        """Return whether the attack, one that follows the gradient, is sound."""
        assert isinstance(self.attack, GradientAttack)
        findings = check_attack(
            self.attack,
            victim,
            images,
            self.eps,
            self.norm,
            self.draws,
            queries=_QUERIES,
            evaluations=self.evaluations,
            seed=self.seed,
        )
        passed = torch.tensor([finding.passed for finding in findings])
        return Result({"passed": passed}, {"findings": [asdict(finding) for finding in findings]})


def _minimal(
    attack: GradientAttack, norm: Norm, seed: int, victim: Victim, images: Images
) -> Result:
    found = minimal_perturbation(
        *(attack, victim, images, norm, FixedDraws(seed)),
        start=_FIRST[norm],
        rounds=_ROUNDS,
        seed=seed,
    )
    return Result({"distance": found.distance.cpu()}, {})
