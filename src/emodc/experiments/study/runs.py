"""One run of the study: train it, evaluate it, read what it gave; each goes on where it stopped."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from emodc.data import FaceData
from emodc.evaluation.evaluate import PREDICTIONS, REPORT, evaluate
from emodc.experiments.study.arms import Arm, Setting, arm_recipe, run_name
from emodc.model.model import Model
from emodc.model.store import load_model
from emodc.reports.evaluation_report import EvaluationReport
from emodc.support.files import write_atomically
from emodc.support.parsing import read_json
from emodc.support.timing import Progress
from emodc.training.log import METRICS, STATE, read_metrics
from emodc.training.loop import run_identity, train
from emodc.training.recipe import Recipe
from emodc.training.state import TrainingDiverged, read_progress

RUNS, TEST, DIVERGED = "runs", "test", "diverged.json"
"""The folder of all runs; in a run's, that of its evaluation and what tells that it diverged."""


@dataclass(frozen=True)
class Splits:
    """The data of a study.

    Attributes:
        training: what all arms are trained on.
        validation: chooses checkpoints and settings.
        test: is reported on, and chooses nothing.
    """

    training: FaceData
    validation: FaceData
    test: FaceData


@dataclass(frozen=True)
class Run:
    """One training of an arm; of `make_run`.

    Attributes:
        arm: how it is trained.
        setting: in which of the arm's settings.
        seed: counts from 0.
        recipe: all of it.
        folder: of the run.
        initial: the model whose weights it begins with, if it does.
    """

    arm: Arm
    setting: Setting
    seed: int
    recipe: Recipe
    folder: Path
    initial: Model | None

    @property
    def name(self) -> str:
        """What its folder is called."""
        return self.folder.name


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        run: which.
        diverged: why there is no model, if it diverged.
        validation_accuracy: of its best checkpoint, which chose it.
        curve: samples and validation accuracy at every validation.
        d_p_at_end: mean error under the true class of the last checkpoint on validation images.
        report: its evaluation on the test images, once there is one.
        ids: of these images.
        right: (N,) bool, which of them it classifies correctly.
    """

    run: Run
    diverged: str | None = None
    validation_accuracy: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    d_p_at_end: float | None = None
    report: EvaluationReport | None = None
    ids: tuple[str, ...] = ()
    right: Tensor | None = None


def make_run(
    base: Recipe,
    arm: Arm,
    setting: Setting,
    seed: int,
    output: Path,
    followed: Setting | None,
    initial: Model | None,
) -> Run:
    """Return a run of a study whose folder is ``output``; see `arm_recipe`."""
    recipe = arm_recipe(base, arm, setting, seed, followed)
    return Run(arm, setting, seed, recipe, output / RUNS / run_name(arm, setting, seed), initial)


def samples_left(run: Run, splits: Splits) -> int:
    """Return how many samples the training still lacks; 0 if it diverged.

    Raises:
        ValueError: the folder holds a run with another recipe or other data, or a damaged one.
    """
    state = run.folder / STATE
    if not state.exists():
        return run.recipe.samples
    identity = run_identity(run.recipe, splits.training, splits.validation, run.initial)
    seen = read_progress(state, identity)["samples"]
    return 0 if (run.folder / DIVERGED).exists() else max(0, run.recipe.samples - seen)


def is_trained(run: Run, splits: Splits) -> bool:
    """Tell whether a run is finished, or diverged.

    Raises:
        ValueError: as for `samples_left`.
    """
    ended = (run.folder / REPORT).exists() or (run.folder / DIVERGED).exists()
    return samples_left(run, splits) == 0 and ended


def is_evaluated(run: Run) -> bool:
    """Tell whether the run needs no evaluation: it has one, or no model."""
    return (run.folder / TEST / REPORT).exists() or (run.folder / DIVERGED).exists()


@contextmanager
def claimed(run: Run, *, wait: bool = False) -> Iterator[bool]:
    """Tell whether no other process is at a run, and keep others off it within the block.

    However the process ends, the run is free again.

    Args:
        run: which.
        wait: until it is free.

    Raises:
        OSError: the folder cannot be written.
    """
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    claim = FileLock(run.folder.with_name(f"{run.name}.lock"))
    with suppress(Timeout):
        claim.acquire(blocking=wait)
    try:
        yield claim.is_locked
    finally:
        claim.release()


def train_rest(run: Run, splits: Splits, device: str, progress: Progress) -> None:
    """Train what is missing of a run.

    Raises:
        ValueError: see `emodc.training.loop.train`.
        KeyboardInterrupt: the run was stopped; the state up to then is saved.
        OSError: the folder cannot be written.
    """
    if is_trained(run, splits):
        return

    def report(samples: int, metrics: dict[str, float]) -> None:
        shown = "validation_accuracy" in metrics
        accuracy = f", validation {metrics['validation_accuracy']:.3f}" if shown else ""
        progress(samples, run.recipe.samples, f"samples of {run.name}{accuracy}")

    try:
        train(
            run.recipe,
            splits.training,
            splits.validation,
            run.folder,
            device=device,
            initial=run.initial,
            on_metrics=report,
        )
    except TrainingDiverged as error:
        text = json.dumps({"reason": str(error)}) + "\n"
        write_atomically(run.folder / DIVERGED, text.encode())


def evaluated(
    outcome: Outcome,
    splits: Splits,
    steps: int,
    limit: int | None,
    device: torch.device,
    progress: Progress,
) -> Outcome:
    """Evaluate a trained run on the test images; a diverged one is returned as it is.

    The network computes in the precision of its training.

    Raises:
        ValueError: the folder holds another evaluation; see `emodc.evaluation.evaluate.evaluate`.
        OSError: the folder cannot be written.
    """
    run = outcome.run
    if outcome.diverged is not None:
        return outcome
    report = evaluate(
        load_model(run.folder, device, run.recipe.precision),
        splits.test,
        steps=steps,
        limit=limit,
        output=run.folder / TEST,
        progress=lambda done, total, note="": progress(done, total, f"test images of {run.name}"),
    )
    ids, right = _answers(run.folder / TEST / PREDICTIONS)
    return replace(outcome, report=report, ids=ids, right=right)


def read_outcome(run: Run) -> Outcome:
    """Return what the validations of a run gave that `is_trained`."""
    lines = [line for line in read_metrics(run.folder) if "validation_accuracy" in line]
    curve = tuple((int(line["samples"]), line["validation_accuracy"]) for line in lines)
    if (run.folder / DIVERGED).exists():
        file = run.folder / DIVERGED
        told = read_json(file)
        if not isinstance(told, dict) or not isinstance(told.get("reason"), str):
            raise ValueError(f"{file}: damaged; delete it, and the run is trained again")
        return Outcome(run, diverged=told["reason"], curve=curve)
    if run.arm.denoises and not any("validation_d_p" in line for line in lines[-1:]):
        raise ValueError(f"{run.folder / METRICS}: lacks the last validation; delete {run.folder}")
    return Outcome(
        run,
        validation_accuracy=EvaluationReport.read(run.folder / REPORT).accuracy,
        curve=curve,
        d_p_at_end=lines[-1]["validation_d_p"] if run.arm.denoises else None,
    )


def _answers(file: Path) -> tuple[tuple[str, ...], Tensor]:
    """Return the ids of a table of predictions, and which of them are right, (N,) bool."""
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    right = torch.tensor([row["truth"] == row["label"] for row in rows])
    return tuple(row["id"] for row in rows), right
