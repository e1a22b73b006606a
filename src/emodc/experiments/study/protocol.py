"""The protocol: what is trained, what chooses, what is evaluated, in which order.

For each arm: train the first seed in every setting; the best validation accuracy chooses one;
train the other seeds in it; evaluate what was chosen on the test images. A run that was tried and
chosen is the arm's first run, and is not trained again. All that is known is what lies in the
folder, so several processes can share a study: each takes what is next and free.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emodc.data.subset import stratified_subset
from emodc.experiments.study.arms import Arm, Setting, chosen_arms, quick_recipe
from emodc.experiments.study.cost import arm_cost, measured_pace
from emodc.experiments.study.progress import StudyProgress, Task
from emodc.experiments.study.runs import (
    Outcome,
    Run,
    Splits,
    claimed,
    evaluated,
    is_evaluated,
    read_outcome,
    samples_left,
    train_rest,
)
from emodc.method.draws import check_steps
from emodc.model.model import Model
from emodc.support.devices import choose_device
from emodc.support.timing import Cost, Progress
from emodc.training.recipe import Recipe

SEEDS, QUICK_SEEDS = 3, 1
"""Trainings of the main arms, if their number is not chosen."""

QUICK_IMAGES = 1000
"""Test images of a quick study, if their number is not chosen."""

_POLL = 5.0  # seconds between two looks at what another process is at


@dataclass(frozen=True)
class ArmResult:
    """What an arm gave.

    Attributes:
        arm: which.
        tried: its first seed in every setting; the first of the best validation accuracy is
            chosen.
        outcomes: the chosen setting, one for each seed; empty if every setting diverged.
    """

    arm: Arm
    tried: tuple[Outcome, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def chosen(self) -> Setting | None:
        """The setting that validation chose; None if all diverged."""
        return self.outcomes[0].run.setting if self.outcomes else None

    @property
    def diverged(self) -> list[Outcome]:
        """Every run that diverged."""
        runs = {outcome.run.name: outcome for outcome in (*self.tried, *self.outcomes)}
        return [outcome for outcome in runs.values() if outcome.diverged is not None]


class Study:
    """A comparison of training objectives in a folder, which goes on where it stopped.

    Args:
        base: the recipe that the arms vary. Votes that the data lack are not asked for.
        splits: the data.
        output: the study's folder.
        quick: the main arms only, with fewer samples; see `quick_recipe`.
        seeds: trainings of the main arms; `SEEDS`, or `QUICK_SEEDS`, if not given.
        steps: draws for each test image.
        limit: evaluate on a stratified subset of this many test images; if not given, on all, or,
            in a quick study, on `QUICK_IMAGES`.
        device: ``auto`` or ``cpu``.
        initial: a model whose weights all arms begin with, as the paper's do with pretrained ones;
            arms with another network are left out.

    Attributes:
        base: the recipe as it is varied.
        arms: in the order of `emodc.experiments.study.arms.ARMS`.
        initial: as given.
        left_out: ``arm`` and ``reason`` of those that make no sense here, or could not be trained.

    Raises:
        ValueError: the recipe does not suit a study, ``limit`` is below 1, or ``steps`` is not
            one of 1 to T.
    """

    def __init__(
        self,
        base: Recipe,
        splits: Splits,
        output: Path,
        *,
        quick: bool = False,
        seeds: int | None = None,
        steps: int,
        limit: int | None = None,
        device: str = "auto",
        initial: Model | None = None,
    ) -> None:
        self.base = without_missing_votes(quick_recipe(base) if quick else base, splits)
        check_steps(steps, self.base.model.schedule.build().timesteps)
        self.arms, self.left_out = chosen_arms(self.base, quick, initial)
        limit = QUICK_IMAGES if quick and limit is None else limit
        self.splits, self.output, self.steps, self.limit = splits, output, steps, limit
        self.seeds = seeds or (QUICK_SEEDS if quick else SEEDS)
        self.images = len(splits.test)
        if limit is not None:
            self.images = len(stratified_subset(splits.test.labels, limit, seed=0))
        self._device = device
        self.initial = initial
        self._state = StudyProgress(self.base, self.arms, splits, output, self.seeds, initial)

    def costs(self) -> Iterator[Cost]:
        """Measure how fast the arms are here, and tell what is still to be done for each.

        Settings not chosen yet are taken to cost what the arm's first one costs.

        Yields:
            The cost of an arm, in their order.

        Raises:
            ValueError: the folder holds runs of other recipes or data.
        """
        device, label_set = choose_device(self._device), self.splits.training.label_set
        for arm in self.arms:
            state = self._state.of(arm)
            runs, chosen = ([], ()) if state is None else (state.runs, state.chosen)
            left = [samples_left(run, self.splits) for run in runs]
            evaluations = sum(not is_evaluated(run) for run in chosen)
            if not any(left) and not evaluations:
                yield Cost(arm.name, {}, 0.0)
                continue
            pace = measured_pace(runs[0].recipe, label_set, self.steps, device)
            yield arm_cost(arm.name, runs[0].recipe, pace, left, evaluations, self.images)

    def run(self, progress: Progress, tell: Callable[[str], None]) -> Iterator[list[ArmResult]]:
        """Train and evaluate what is missing.

        Args:
            progress: is told how far a run is.
            tell: is told in a line what was chosen and what diverged.

        Yields:
            The results so far, before every arm at which there is something to do, and at the end.

        Raises:
            ValueError: the folder holds runs or evaluations of something else.
            KeyboardInterrupt: it was stopped; what was computed is saved.
            OSError: the folder cannot be written.
        """
        results: dict[str, ArmResult] = {}
        for arm in self.arms:
            if results and self._state.left(arm):
                yield list(results.values())
            self._finish(arm, progress, tell)
            state = self._state.of(arm)
            if state is None:
                reason = f"{arm.follows}, which it follows, diverged in every setting"
                self.left_out.append({"arm": arm.name, "reason": reason})
                continue
            outcomes = []
            for run in state.chosen:
                with claimed(run, wait=True):
                    outcomes.append(self._evaluated(run, progress))
            tried = tuple(read_outcome(run) for run in state.tried)
            results[arm.name] = ArmResult(arm, tried, tuple(outcomes))
            _tell(results[arm.name], tell)
        yield list(results.values())

    def _finish(self, arm: Arm, progress: Progress, tell: Callable[[str], None]) -> None:
        """Return when nothing of an arm is left.

        What another process is at is left to it; meanwhile a later arm is worked at.
        """
        waits = False
        while left := self._state.left(arm):
            for later in self.arms[self.arms.index(arm) :]:
                if any(self._do(task, progress) for task in self._state.left(later)):
                    break
            else:
                if not waits:
                    names = ", ".join(task.run.name for task in left)
                    tell(f"another process is at {names}: waiting for it")
                waits = True
                time.sleep(_POLL)

    def _do(self, task: Task, progress: Progress) -> bool:
        """Do a task, unless another process is at it; return whether it was free."""
        with claimed(task.run) as free:
            if free and task.evaluates:
                self._evaluated(task.run, progress)
            elif free:
                train_rest(task.run, self.splits, self._device, progress)
        return free

    def _evaluated(self, run: Run, progress: Progress) -> Outcome:
        device = choose_device(self._device)
        return evaluated(read_outcome(run), self.splits, self.steps, self.limit, device, progress)


def without_missing_votes(base: Recipe, splits: Splits) -> Recipe:
    """Return the recipe with soft labels only where the data have annotators' votes."""
    if base.soft_labels and splits.training.votes is None:
        return base.model_copy(update={"soft_labels": False})
    return base


def _tell(result: ArmResult, tell: Callable[[str], None]) -> None:
    for outcome in result.diverged:
        tell(f"{outcome.run.name} diverged: {outcome.diverged}")
    if result.chosen is None:
        return
    if len(result.tried) > 1:
        shown = ", ".join(
            f"{outcome.run.setting.name} {outcome.validation_accuracy:.3f}"
            for outcome in result.tried
            if outcome.validation_accuracy is not None
        )
        tell(f"{result.arm.name}: validation chose {result.chosen.name} ({shown})")
    reports = [outcome.report for outcome in result.outcomes if outcome.report is not None]
    accuracies = ", ".join(f"{report.accuracy:.3f}" for report in reports)
    tell(f"{result.arm.name}: test accuracy {accuracies}")
