"""How far a study is: what lies in its folder says what is chosen, and what is left to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emodc.experiments.study.arms import Arm, Setting
from emodc.experiments.study.runs import (
    Run,
    Splits,
    is_evaluated,
    is_trained,
    make_run,
    read_outcome,
)
from emodc.model.model import Model
from emodc.training.recipe import Recipe


@dataclass(frozen=True)
class ArmProgress:
    """How far an arm is.

    Attributes:
        tried: the first seed in every setting.
        chosen: all seeds in the setting that validation chose, or, until it is settled, in the
            first one; none if all diverged.
        ready: whether the choice that it follows is made.
        settled: whether its own is.
    """

    tried: tuple[Run, ...]
    chosen: tuple[Run, ...]
    ready: bool
    settled: bool

    @property
    def runs(self) -> list[Run]:
        """All its runs, those in the chosen setting first."""
        return [*self.chosen, *(run for run in self.tried if run not in self.chosen)]


@dataclass(frozen=True)
class Task:
    """To train a run, or to evaluate it."""

    run: Run
    evaluates: bool


class StudyProgress:
    """How far the arms of a study are, as its folder tells whenever it is asked.

    Args:
        base: the recipe that the arms vary.
        arms: all of them; one comes after the one that it follows.
        splits: the data.
        output: the study's folder.
        seeds: trainings of the main arms.
        initial: the model whose weights all runs begin with, if they do.
    """

    def __init__(
        self,
        base: Recipe,
        arms: Sequence[Arm],
        splits: Splits,
        output: Path,
        seeds: int,
        initial: Model | None,
    ) -> None:
        self._base, self._arms, self._splits = base, arms, splits
        self._output, self._seeds, self._initial = output, seeds, initial
        self._trained: set[str] = set()

    def of(self, arm: Arm) -> ArmProgress | None:
        """Return how far an arm is; None if the one that it follows diverged in every setting.

        Raises:
            ValueError: the folder holds runs of other recipes or data.
        """
        followed, ready = None, True
        if arm.follows is not None:
            (original,) = (other for other in self._arms if other.name == arm.follows)
            theirs = self.of(original)
            if theirs is None or not theirs.chosen:
                return None
            followed, ready = theirs.chosen[0].setting, theirs.settled

        def run(setting: Setting, seed: int) -> Run:
            return make_run(self._base, arm, setting, seed, self._output, followed, self._initial)

        tried = [run(setting, 0) for setting in arm.settings]
        settled = ready and all(self._is_trained(run) for run in tried)
        best = _best(tried) if settled else tried[0]
        seeds = range(self._seeds if arm.many_seeds else 1)
        chosen = [] if best is None else [run(best.setting, seed) for seed in seeds]
        return ArmProgress(tuple(tried), tuple(chosen), ready, settled)

    def left(self, arm: Arm) -> list[Task]:
        """Return what can be done for an arm now; other tasks may follow from it.

        Raises:
            ValueError: the folder holds runs of other recipes or data.
        """
        progress = self.of(arm)
        if progress is None or not progress.ready:
            return []
        if not progress.settled:
            untrained = (run for run in progress.tried if not self._is_trained(run))
            return [Task(run, evaluates=False) for run in untrained]
        tasks = [Task(run, evaluates=self._is_trained(run)) for run in progress.chosen]
        return [task for task in tasks if not (task.evaluates and is_evaluated(task.run))]

    def _is_trained(self, run: Run) -> bool:
        """Tell whether it is; to know it takes a hash of the data, once."""
        if run.name not in self._trained and is_trained(run, self._splits):
            self._trained.add(run.name)
        return run.name in self._trained


def _best(tried: Sequence[Run]) -> Run | None:
    """Return the first of the best validation accuracy; None if all diverged."""
    accuracies = [read_outcome(run).validation_accuracy for run in tried]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return tried[accuracies.index(max(known))] if known else None
