"""The comparison itself: every subject under every condition, each result kept when finished."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emodc.attacks.threat_model import Images
from emodc.corruptions.sequences import FRAMES
from emodc.data.face_data import FaceData
from emodc.evaluation.face_sample import choose_sample, shared_columns
from emodc.experiments.robustness.attack_tasks import AttackPlan, Task, tasks_of, victim_of
from emodc.experiments.robustness.conditions import Condition, conditions_of
from emodc.experiments.robustness.subjects import Subject
from emodc.support.results import Cell, load_cell, save_cell

CELLS = "cells"
"""The folder of finished results, within that of the report."""

_CHUNK = 48  # faces corrupted, and then shown to the subjects, at once
_ATTACKED = 10  # faces attacked between two saves: each takes many passes
_PROBED = 8  # faces that the speed is measured on

Progress = Callable[[int, int, str], None]
"""Called with the number of answers given, that of all, and what is at work."""


@dataclass(frozen=True)
class Cost:
    """What is still to be done for one subject.

    Attributes:
        subject: its name.
        cells: (condition, seed) pairs that are missing, and parts of attacks.
        images: answers to be given, without the attacks.
        passes: of the network: draws of the answers, and at most this many in the attacks.
        seconds: that they take, by a measurement of some answers.
    """

    subject: str
    cells: int
    images: int
    passes: int
    seconds: float


class Comparison:
    """Shows the same faces under the same conditions to several subjects.

    Args:
        subjects: what is compared.
        data: face crops, which are corrupted at their native resolution.
        output: the folder where finished results are kept and found again.
        suites: of `emodc.experiments.robustness.conditions.SUITE_NAMES`; may be none.
        severities: of the corruptions.
        seeds: of draws and corruptions; figures are means over them. The first one also chooses
            the faces and is the attacks'.
        limit: take a stratified subset of this many faces.
        frames: of the sequences.
        attack: attack the subjects, too.

    Attributes:
        subjects: as given.
        sample: the faces.
        conditions: in the order of the report.
        seeds: as given.
        attack: as given.

    Raises:
        ValueError: no subject, two of one name, no face, too few common classes, an option
            that is not known, or images that are to be carried over are not of one size.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        data: FaceData,
        output: Path,
        *,
        suites: Sequence[str] = ("noise-blur",),
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        seeds: Sequence[int] = (0,),
        limit: int | None = None,
        frames: int = FRAMES,
        attack: AttackPlan | None = None,
    ) -> None:
        names = [subject.name for subject in subjects]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"models to compare need names of their own: {', '.join(names)}")
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError("give at least one seed, and none twice")
        self.subjects, self.seeds, self.attack = tuple(subjects), tuple(seeds), attack
        self.conditions = conditions_of(suites, severities, frames)
        self.sample = choose_sample(data, [s.label_set for s in subjects], limit, seeds[0])
        if attack is not None and attack.transfer_from is not None:
            for subject in subjects:
                _check_pixels(attack.transfer_from, subject)
        self._folder = output / CELLS
        self._faces = {
            "data": self.sample.data.fingerprint(),
            "crop geometry": str(self.sample.geometry),
        }

    def cost(self) -> list[Cost]:
        """Measure the subjects' speed and return what is still to be done for each."""
        return [self._cost_of(subject) for subject in self.subjects]

    def run(self, progress: Progress = lambda done, total, note: None) -> None:
        """Measure what is missing.

        Args:
            progress: is told how far it is.

        Raises:
            ValueError: the folder holds results of something else, a damaged one, or a subject
                answers with NaN.
            OSError: the folder cannot be written.
        """
        missing = {
            (condition, seed): waiting
            for condition in self.conditions
            for seed in self.seeds
            if (waiting := [s for s in self.subjects if self._cell(s, condition, seed) is None])
        }
        faces = len(self.sample.labels)
        images = {key: faces * key[0].frames * len(waiting) for key, waiting in missing.items()}
        done, total = 0, sum(images.values())
        for (condition, seed), waiting in missing.items():
            severity = f" {condition.severity}" if condition.severity else ""
            note = f"{condition.name}{severity}"
            progress(done, total, note)
            for part in self._show(condition, seed, waiting):
                done += part
                progress(done, total, note)
        for subject in self.subjects:
            self._attack(subject, progress)

    def probabilities(self, subject: Subject, condition: Condition, seed: int) -> Tensor:
        """Return the answers of a finished cell among the common classes.

        Args:
            subject: who answered.
            condition: to what.
            seed: with which seed.

        Returns:
            (N, F, K') float64, rows sum to 1, for N faces and F frames.

        Raises:
            ValueError: it is not finished.
        """
        columns = shared_columns(subject.label_set, self.sample.classes)
        kept = self._finished(subject, condition, seed)["probabilities"][..., columns].double()
        # Answers that are certain of a class left out have no say between the others.
        return kept / kept.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)

    def right(self, subject: Subject, condition: Condition) -> Tensor:
        """Return in what share of the seeds each face was answered rightly, (N,) float64.

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
        """Return how many draws an answer of finished cells took on average.

        Args:
            subject: who answered.
            condition: to what.

        Raises:
            ValueError: a cell is not finished.
        """
        draws = [self._finished(subject, condition, seed)["draws"] for seed in self.seeds]
        return float(torch.stack(draws).double().mean())

    def attacked(self, subject: Subject) -> list[tuple[Task, list[Cell]]]:
        """Return the finished attacks on a subject, in parts."""
        if self.attack is None:
            return []
        found = []
        for task in tasks_of(self.attack, subject, self.seeds[0]):
            parts = [self._attack_cell(subject, task, rows) for rows in self._parts(task)]
            found.append((task, [part for part in parts if part is not None]))
        return found

    def _show(self, condition: Condition, seed: int, waiting: Sequence[Subject]) -> Iterator[int]:
        """Show all faces to the subjects that wait, keep their answers, yield how many came."""
        given: dict[str, list[tuple[Tensor, Tensor]]] = {subject.name: [] for subject in waiting}
        sample = self.sample
        chunk = max(1, _CHUNK // condition.frames)
        for start in range(0, len(sample.labels), chunk):
            rows = range(start, min(start + chunk, len(sample.labels)))
            crops = [
                frame
                for row in rows
                for frame in condition.show(
                    sample.data.image(row), seed, int(sample.index[row]), sample.geometry
                )
            ]
            for subject in waiting:
                probabilities, draws = subject.answers(crops, seed)
                if not bool(probabilities.isfinite().all()):
                    raise ValueError(
                        f"model '{subject.name}' answers NaN or infinity under {condition.name}: "
                        "its weights diverged"
                    )
                shape = (len(rows), condition.frames)
                given[subject.name].append(
                    (probabilities.float().view(*shape, -1), draws.view(shape))
                )
                yield len(crops)
        for subject in waiting:
            probabilities, draws = map(torch.cat, zip(*given[subject.name], strict=True))
            cell = Cell({"probabilities": probabilities, "draws": draws}, {})
            save_cell(
                self._file(subject, condition, seed), cell, self._identity(subject, condition, seed)
            )

    def _attack(self, subject: Subject, progress: Progress) -> None:
        if self.attack is None:
            return
        tasks = tasks_of(self.attack, subject, self.seeds[0])
        parts = [(task, rows) for task in tasks for rows in self._parts(task)]
        missing = [part for part in parts if self._attack_cell(subject, *part) is None]
        if not missing:
            return
        for done, (task, rows) in enumerate(missing):
            at = f"{task.kind}, {task.settings['norm']}, {task.settings['defence']}"
            progress(done, len(missing), f"{subject.name} under attack: {at}")
            crops = [self.sample.data.image(row) for row in rows]
            pixels = subject.pixels(crops)
            images = Images(
                pixels,
                self.sample.labels[rows.start : rows.stop].to(pixels.device),
                torch.from_numpy(self.sample.index[rows.start : rows.stop]).to(pixels.device),
            )
            file, identity = self._attack_file(subject, task, rows)
            victim = victim_of(task, subject, self.sample.classes)
            save_cell(file, task.run(victim, images), identity)
        progress(len(missing), len(missing), subject.name)

    def _parts(self, task: Task) -> list[range]:
        """Return the faces that are attacked between two saves."""
        faces = len(self.sample.labels)
        if task.kind == "checks":
            return [range(min(faces, task.settings["faces"]))]
        return [range(n, min(n + _ATTACKED, faces)) for n in range(0, faces, _ATTACKED)]

    def _finished(self, subject: Subject, condition: Condition, seed: int) -> Mapping[str, Tensor]:
        cell = self._cell(subject, condition, seed)
        if cell is None:
            raise ValueError(f"{subject.name}: {condition.name} was not measured yet")
        return cell.tensors

    def _cell(self, subject: Subject, condition: Condition, seed: int) -> Cell | None:
        identity = self._identity(subject, condition, seed)
        return load_cell(self._file(subject, condition, seed), identity)

    def _attack_cell(self, subject: Subject, task: Task, rows: range) -> Cell | None:
        return load_cell(*self._attack_file(subject, task, rows))

    def _file(self, subject: Subject, condition: Condition, seed: int) -> Path:
        return self._folder / _slug(subject.name) / f"{condition.file}-{seed}.safetensors"

    def _attack_file(
        self, subject: Subject, task: Task, rows: range
    ) -> tuple[Path, dict[str, str]]:
        file = self._folder / _slug(subject.name) / f"{task.file}-{rows.start:05d}.safetensors"
        settings = {name: str(value) for name, value in task.settings.items()}
        classes = {"choice of classes": ", ".join(self.sample.classes)}
        made_on = {} if task.made_on is subject else task.made_on.identity
        source = {f"source of images, {name}": value for name, value in made_on.items()}
        return file, {**subject.identity, **source, **self._faces, **classes, **settings}

    def _identity(self, subject: Subject, condition: Condition, seed: int) -> dict[str, str]:
        return {**subject.identity, **self._faces, **condition.identity, "seed": str(seed)}

    def _cost_of(self, subject: Subject) -> Cost:
        faces = len(self.sample.labels)
        missing = [
            condition
            for condition in self.conditions
            for seed in self.seeds
            if self._cell(subject, condition, seed) is None
        ]
        images = faces * sum(condition.frames for condition in missing)
        cells, answers, work = len(missing), images, []
        for task in [] if self.attack is None else tasks_of(self.attack, subject, self.seeds[0]):
            parts = [p for p in self._parts(task) if self._attack_cell(subject, task, p) is None]
            cells, attacked = cells + len(parts), sum(map(len, parts))
            answers += attacked * task.answers
            work.append((task.made_on, attacked * task.passes))
        work.append((subject, answers * max(subject.draws, 1)))
        sources = {source.name: source for source, passes in work if passes}
        each = {name: self._seconds_per_pass(source) for name, source in sources.items()}
        seconds = sum(passes * each[source.name] for source, passes in work if passes)
        return Cost(subject.name, cells, images, sum(passes for _, passes in work), seconds)

    def _seconds_per_pass(self, subject: Subject) -> float:
        """Return how long an answer takes, for each of the most draws that it may have."""
        sample = self.sample
        crops = [sample.data.image(row) for row in range(min(_PROBED, len(sample.labels)))]
        subject.answers(crops, self.seeds[0])  # the first call sets things up
        started = time.perf_counter()
        subject.answers(crops, self.seeds[0])
        return (time.perf_counter() - started) / (len(crops) * max(subject.draws, 1))


def _check_pixels(source: Subject, subject: Subject) -> None:
    """Refuse to carry images over to a subject that takes others."""
    blank = [np.zeros((8, 8), np.uint8)]
    made, taken = (tuple(s.pixels(blank).shape[1:]) for s in (source, subject))
    if made != taken:
        raise ValueError(
            f"images made on {source.name}, {made}, cannot be shown to {subject.name}, which "
            f"takes {taken} (channels, height, width)"
        )


def _slug(name: str) -> str:
    """Return a name that a folder can have."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "_"
