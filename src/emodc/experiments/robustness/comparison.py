"""The comparison itself: every subject under every condition, each result kept when finished."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emodc.attacks.threat_model import Images
from emodc.corruptions.sequences import FRAMES
from emodc.data.face_data import FaceData
from emodc.evaluation.face_sample import choose_sample
from emodc.experiments.robustness.attack_tasks import AttackPlan, Task, victim_of
from emodc.experiments.robustness.conditions import Condition, conditions_of
from emodc.experiments.robustness.results import Results
from emodc.experiments.robustness.subjects import Subject
from emodc.support.timing import Cost, Progress, seconds_of, unheard

_CHUNK = 48  # faces corrupted, and then shown to the subjects, at once
_PROBED = 8  # faces that the speed is measured on


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
        results: what is known already.

    Raises:
        ValueError: no subject, two of one name, no face, too few common classes, an option
            that is not known, or images that are to be transferred are not of one size.
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
        sample = choose_sample(data, [s.label_set for s in subjects], limit, seeds[0])
        conditions = conditions_of(suites, severities, frames)
        self.results = Results(output, subjects, sample, conditions, seeds, attack)
        if attack is not None and attack.transfer_from is not None:
            for subject in subjects:
                _check_pixels(attack.transfer_from, subject)

    def cost(self) -> list[Cost]:
        """Measure the subjects' speed and return what is still to be done for each."""
        return [self._cost_of(subject) for subject in self.results.subjects]

    def run(self, progress: Progress = unheard) -> None:
        """Measure what is missing.

        Args:
            progress: is told how far it is.

        Raises:
            ValueError: the folder holds results of something else, a damaged one, or a subject
                answers with NaN.
            OSError: the folder cannot be written.
        """
        results = self.results
        missing = {
            (condition, seed): waiting
            for condition in results.conditions
            for seed in results.seeds
            if (waiting := self._waiting(condition, seed))
        }
        faces = len(results.sample.labels)
        images = {key: faces * key[0].frames * len(waiting) for key, waiting in missing.items()}
        done, total = 0, sum(images.values())
        for (condition, seed), waiting in missing.items():
            severity = f" {condition.severity}" if condition.severity else ""
            note = f"{condition.name}{severity}"
            progress(done, total, note)
            for part in self._show(condition, seed, waiting):
                done += part
                progress(done, total, note)
        for subject in results.subjects:
            self._attack(subject, progress)

    def _waiting(self, condition: Condition, seed: int) -> list[Subject]:
        results = self.results
        return [s for s in results.subjects if not results.is_finished(s, condition, seed)]

    def _show(self, condition: Condition, seed: int, waiting: Sequence[Subject]) -> Iterator[int]:
        """Show all faces to the subjects that wait, keep their answers, yield how many came."""
        given: dict[str, list[tuple[Tensor, Tensor]]] = {subject.name: [] for subject in waiting}
        sample = self.results.sample
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
            self.results.keep(subject, condition, seed, probabilities, draws)

    def _attack(self, subject: Subject, progress: Progress) -> None:
        results, sample = self.results, self.results.sample
        missing = self._missing_attacks(subject)
        for done, (task, rows) in enumerate(missing):
            at = f"{task.kind}, {task.settings['norm']}, {task.settings['defence']}"
            progress(done, len(missing), f"{subject.name} under attack: {at}")
            pixels = subject.pixels([sample.data.image(row) for row in rows])
            images = Images(
                pixels,
                sample.labels[rows.start : rows.stop].to(pixels.device),
                torch.from_numpy(sample.index[rows.start : rows.stop]).to(pixels.device),
            )
            victim = victim_of(task, subject, sample.classes)
            results.keep_attack(subject, task, rows, task.run(victim, images))
        if missing:
            progress(len(missing), len(missing), subject.name)

    def _missing_attacks(self, subject: Subject) -> list[tuple[Task, range]]:
        return [
            (task, rows)
            for task in self.results.tasks(subject)
            for rows in self.results.parts(task)
            if self.results.attack_part(subject, task, rows) is None
        ]

    def _cost_of(self, subject: Subject) -> Cost:
        results = self.results
        missing = [
            condition
            for condition in results.conditions
            for seed in results.seeds
            if not results.is_finished(subject, condition, seed)
        ]
        images = len(results.sample.labels) * sum(condition.frames for condition in missing)
        cells, answers, work = len(missing), images, []
        for task, rows in self._missing_attacks(subject):
            cells, answers = cells + 1, answers + len(rows) * task.answers
            work.append((task.source, len(rows) * task.network_evaluations))
        work.append((subject, answers * max(subject.draws, 1)))
        sources = {source.name: source for source, count in work if count}
        each = {name: self._seconds_per_evaluation(source) for name, source in sources.items()}
        seconds = sum(count * each[source.name] for source, count in work if count)
        amounts = {
            "cells": cells,
            "images": images,
            "network evaluations at most": sum(count for _, count in work),
        }
        return Cost(subject.name, amounts, seconds)

    def _seconds_per_evaluation(self, subject: Subject) -> float:
        """Return how long an answer takes, for each of the most draws that it may have."""
        sample, seed = self.results.sample, self.results.seeds[0]
        crops = [sample.data.image(row) for row in range(min(_PROBED, len(sample.labels)))]
        seconds = seconds_of(lambda: subject.answers(crops, seed))
        return seconds / (len(crops) * max(subject.draws, 1))


def _check_pixels(source: Subject, subject: Subject) -> None:
    """Refuse to transfer images to a subject that takes others."""
    blank = [np.zeros((8, 8), np.uint8)]
    made, taken = (tuple(s.pixels(blank).shape[1:]) for s in (source, subject))
    if made != taken:
        raise ValueError(
            f"images transferred from {source.name}, {made}, cannot be shown to {subject.name}, "
            f"which takes {taken} (channels, height, width)"
        )
