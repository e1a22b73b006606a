"""The table of results: what every subject answered under every condition, each file read once."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from emodc.evaluation.face_sample import FaceSample, shared_columns
from emodc.experiments.robustness.attack_tasks import AttackPlan, Task, tasks_of
from emodc.experiments.robustness.conditions import Condition
from emodc.experiments.robustness.subjects import Subject
from emodc.support.results import Result, load_result, save_result
from emodc.support.text import folder_name

CELLS = "cells"
"""The folder of finished results, within that of the report."""

_ATTACKED = 10  # faces attacked between two saves: each takes many network evaluations
_FACTS = "facts"


class Results:
    """Finished results, by subject, condition and seed; kept in files, and read once.

    Args:
        folder: of the report.
        subjects: what is compared.
        sample: the faces that they are shown.
        conditions: in the order of the report.
        seeds: of draws and corruptions; the first one is the attacks'.
        attack: what the subjects are attacked by, if they are.

    Attributes:
        subjects, sample, conditions, seeds, attack: as given.
    """

    def __init__(
        self,
        folder: Path,
        subjects: Sequence[Subject],
        sample: FaceSample,
        conditions: Sequence[Condition],
        seeds: Sequence[int],
        attack: AttackPlan | None = None,
    ) -> None:
        self.subjects, self.sample, self.attack = tuple(subjects), sample, attack
        self.conditions, self.seeds = tuple(conditions), tuple(seeds)
        self._folder = folder / CELLS
        self._faces = {
            "data": sample.data.fingerprint(),
            "crop geometry": str(sample.geometry),
        }
        self._read: dict[Path, Result] = {}

    def is_finished(self, subject: Subject, condition: Condition, seed: int) -> bool:
        """Tell whether a subject's answers under a condition are known.

        Raises:
            ValueError: their file is damaged, or of something else.
        """
        return self._cell(subject, condition, seed) is not None

    def keep(
        self,
        subject: Subject,
        condition: Condition,
        seed: int,
        probabilities: Tensor,
        draws: Tensor,
    ) -> None:
        """Keep a subject's answers under a condition.

        Args:
            subject: who answered.
            condition: to what.
            seed: with which seed.
            probabilities: (N, F, K) of N faces and F frames.
            draws: (N, F) that they took.

        Raises:
            OSError: the file cannot be written.
        """
        tensors = {"probabilities": probabilities, "draws": draws}
        file, identity = self._file(subject, condition, seed)
        self._save(file, Result(tensors, {_FACTS: {}}), identity)

    def probabilities(self, subject: Subject, condition: Condition, seed: int) -> Tensor:
        """Return answers among the common classes.

        Args:
            subject: who answered.
            condition: to what.
            seed: with which seed.

        Returns:
            (N, F, K') float64, rows sum to 1, for N faces and F frames.

        Raises:
            ValueError: they are not known yet.
        """
        columns = shared_columns(subject.label_set, self.sample.classes)
        kept = self._finished(subject, condition, seed).tensors["probabilities"]
        chosen = kept[..., columns].double()
        # Answers that are certain of a class left out have no say between the others.
        return chosen / chosen.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)

    def right(self, subject: Subject, condition: Condition) -> Tensor:
        """Return in what share of the seeds each face was classified correctly, (N,) float64.

        Args:
            subject: who answered.
            condition: of one frame.
        """
        rows = [
            self.probabilities(subject, condition, seed)[:, 0].argmax(dim=1) == self.sample.labels
            for seed in self.seeds
        ]
        return torch.stack(rows).double().mean(dim=0)

    def mean_draws(self, subject: Subject, condition: Condition) -> float:
        """Return how many draws an answer took on average.

        Args:
            subject: who answered.
            condition: to what.

        Raises:
            ValueError: the answers are not known yet.
        """
        draws = [self._finished(subject, condition, seed).tensors["draws"] for seed in self.seeds]
        return float(torch.stack(draws).double().mean())

    def tasks(self, subject: Subject) -> list[Task]:
        """Return the attacks to be made on a subject."""
        if self.attack is None:
            return []
        return tasks_of(self.attack, subject, self.seeds[0])

    def parts(self, task: Task) -> list[range]:
        """Return the faces that are attacked between two saves."""
        faces = len(self.sample.labels)
        if task.kind == "checks":
            return [range(min(faces, task.settings["faces"]))]
        return [range(n, min(n + _ATTACKED, faces)) for n in range(0, faces, _ATTACKED)]

    def attack_part(self, subject: Subject, task: Task, rows: range) -> Result | None:
        """Return what an attack on some faces found; None if it was not made yet.

        Raises:
            ValueError: its file is damaged, or of something else.
        """
        found = self._load(*self._attack_file(subject, task, rows))
        return None if found is None else Result(found.tensors, found.facts[_FACTS])

    def keep_attack(self, subject: Subject, task: Task, rows: range, found: Result) -> None:
        """Keep what an attack on some faces found.

        Raises:
            OSError: the file cannot be written.
        """
        file, identity = self._attack_file(subject, task, rows)
        self._save(file, Result(found.tensors, {_FACTS: found.facts}), identity)

    def attacked(self, subject: Subject) -> list[tuple[Task, list[Result]]]:
        """Return the finished attacks on a subject, in parts."""
        found = []
        for task in self.tasks(subject):
            parts = [self.attack_part(subject, task, rows) for rows in self.parts(task)]
            found.append((task, [part for part in parts if part is not None]))
        return found

    def _finished(self, subject: Subject, condition: Condition, seed: int) -> Result:
        cell = self._cell(subject, condition, seed)
        if cell is None:
            raise ValueError(f"{subject.name}: {condition.name} was not measured yet")
        return cell

    def _cell(self, subject: Subject, condition: Condition, seed: int) -> Result | None:
        return self._load(*self._file(subject, condition, seed), ("probabilities", "draws"))

    def _load(
        self, file: Path, identity: dict[str, str], tensors: Sequence[str] = ()
    ) -> Result | None:
        if file not in self._read:
            found = load_result(file, identity, tensors, (_FACTS,))
            if found is None:
                return None
            self._read[file] = found
        return self._read[file]

    def _save(self, file: Path, result: Result, identity: dict[str, str]) -> None:
        save_result(file, result, identity)
        self._read[file] = result

    def _file(
        self, subject: Subject, condition: Condition, seed: int
    ) -> tuple[Path, dict[str, str]]:
        file = self._folder / folder_name(subject.name) / f"{condition.file}-{seed}.safetensors"
        identity = {**subject.identity, **self._faces, **condition.identity, "seed": str(seed)}
        return file, identity

    def _attack_file(
        self, subject: Subject, task: Task, rows: range
    ) -> tuple[Path, dict[str, str]]:
        file = (
            self._folder / folder_name(subject.name) / f"{task.file}-{rows.start:05d}.safetensors"
        )
        settings = {name: str(value) for name, value in task.settings.items()}
        classes = {"choice of classes": ", ".join(self.sample.classes)}
        other = {} if task.source is subject else task.source.identity
        source = {f"source of images, {name}": value for name, value in other.items()}
        return file, {**subject.identity, **source, **self._faces, **classes, **settings}
