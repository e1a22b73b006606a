"""A model on shifted data: other class shares and labels, and the same faces otherwise taken."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from emodc.data import open_data
from emodc.data.face_data import FaceData
from emodc.data.subset import stratified_subset
from emodc.evaluation.evaluate import evaluate
from emodc.evaluation.shifted_faces import SHIFTS, shifted
from emodc.evaluation.statistics import mean_class_interval
from emodc.model.model import Model
from emodc.reports.evaluation_report import EvaluationReport
from emodc.support.distributed import ALONE, World
from emodc.support.timing import Progress, unheard

_RELABELED = {"fer2013plus": "fer2013"}  # the same images under other annotators' labels


@dataclass(frozen=True)
class ShiftedFigures:
    """What a model reaches under one shift.

    Attributes:
        shift: one of `emodc.evaluation.shifted_faces.SHIFTS`.
        images: that were scored.
        skipped: images that could not be, such as those in which no face was found.
        accuracy: share classified correctly.
        accuracy_ci95: its interval.
        mean_class_accuracy: mean recall.
        mean_class_accuracy_ci95: its interval.
        ece: expected calibration error.
        nll: in nats.
    """

    shift: str
    images: int
    skipped: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    mean_class_accuracy: float
    mean_class_accuracy_ci95: tuple[float, float]
    ece: float
    nll: float

    @classmethod
    def of(cls, shift: str, report: EvaluationReport) -> "ShiftedFigures":
        """Return the figures of an evaluation."""
        interval = mean_class_interval(torch.tensor(report.confusion))
        return cls(
            shift=shift,
            images=report.n_images,
            skipped=report.n_skipped,
            accuracy=report.accuracy,
            accuracy_ci95=report.accuracy_ci95,
            mean_class_accuracy=report.mean_class_accuracy,
            mean_class_accuracy_ci95=interval,
            ece=report.ece,
            nll=report.nll,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


def parse_shifts(text: str, spec: str) -> list[str]:
    """Return the shifts that a list names.

    Args:
        text: ``all``, or names of `emodc.evaluation.shifted_faces.SHIFTS` and commas.
        spec: the dataset; ``all`` has ``labels`` only where its images have other labels, too.

    Raises:
        ValueError: a name is unknown, or the dataset has no other labels.
    """
    relabeled = spec.partition(":")[0] in _RELABELED
    if text == "all":
        return [name for name in SHIFTS if name != "labels" or relabeled]
    names = text.split(",")
    for name in names:
        if name not in SHIFTS:
            raise ValueError(f"unknown shift '{name}': give all, or some of {', '.join(SHIFTS)}")
    if "labels" in names and not relabeled:
        known = ", ".join(_RELABELED)
        raise ValueError(f"shift labels is for images with two kinds of labels: {known}")
    return names


def evaluate_shifts(
    model: Model,
    spec: str,
    split: str,
    shifts: Sequence[str],
    *,
    steps: int | None = None,
    delta: float | None = None,
    budget: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    output: Path | None = None,
    progress: Progress = unheard,
    world: World = ALONE,
) -> list[ShiftedFigures]:
    """Evaluate a model under several shifts of the same images.

    Args:
        model: what to evaluate.
        spec: the dataset, ``NAME:PATH``.
        split: of it.
        shifts: from `parse_shifts`.
        steps: see `emodc.evaluation.evaluate.evaluate`.
        delta: likewise.
        budget: likewise.
        seed: of the draws, the choice of images and what is random in the shifts.
        limit: a stratified subset of this many images; of ``labels``, by those labels.
        output: folder with one for each shift; what is there is not scored again, also under
            another prior.
        progress: is told how far each evaluation is.
        world: the processes that share the images.

    Raises:
        ValueError: as for `emodc.evaluation.evaluate.evaluate`.
        OSError: ``output`` cannot be written.
    """
    found = []
    for number, shift in enumerate(shifts):
        data = _subset(_open(spec, split, shift), limit, seed)
        report = evaluate(
            model,
            shifted(data, "none" if shift == "labels" else shift, seed),
            steps=steps,
            delta=delta,
            budget=budget,
            seed=seed,
            output=None if output is None else output / shift,
            progress=_named(progress, f"{shift} ({number + 1} of {len(shifts)})"),
            world=world,
        )
        found.append(ShiftedFigures.of(shift, report))
    return found


def _named(progress: Progress, name: str) -> Progress:
    return lambda done, total, note="": progress(done, total, name)


def _open(spec: str, split: str, shift: str) -> FaceData:
    if shift != "labels":
        return open_data(spec, split)
    name, _, path = spec.partition(":")
    return open_data(f"{_RELABELED[name]}:{path}", split)


def _subset(data: FaceData, limit: int | None, seed: int) -> FaceData:
    return data if limit is None else data.subset(stratified_subset(data.labels, limit, seed))
