"""Evaluation: the diffusion classifier on a labeled dataset, with one bank of draws."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emodc.data.alignment import NO_FACE, aligned
from emodc.data.face_data import FaceData
from emodc.data.subset import stratified_subset
from emodc.evaluation.face_sample import match_classes, missing_classes
from emodc.evaluation.metrics import accuracy_interval, mean_class_accuracy, summarize
from emodc.evaluation.mistakes import Answered
from emodc.inference.dataset_scores import Score, Scores, score_errors, score_images
from emodc.inference.scorer import (
    Answers,
    check_scoring,
    plain_answers,
    require_adaptive,
    sequential_answers,
    sequential_outcome,
)
from emodc.labels import LabelSet
from emodc.method.errors import DEFAULT_PAIRS
from emodc.method.sequential import Outcome
from emodc.model.identity import weights_hash
from emodc.model.model import Model
from emodc.reports.evaluation_report import (
    EvaluatedData,
    EvaluatedModel,
    EvaluationReport,
    GroupFigures,
    PredictionSets,
    SkippedImage,
    TimestepError,
)
from emodc.support.distributed import ALONE, World
from emodc.support.files import write_atomically
from emodc.support.timing import Progress, unheard

REPORT, PREDICTIONS, ERRORS = "report.json", "predictions.csv", "errors"
"""What an evaluation's folder holds: two files, and a folder of saved errors."""

EVALUATION_STEPS = 100
"""Draws for each image, if the number is not chosen."""

_CHUNK, _LONG_CHUNK = 16, 128  # images between two saves; long ones keep a shared batch full


def evaluate(
    model: Model,
    data: FaceData,
    *,
    steps: int | None = None,
    delta: float | None = None,
    budget: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    detect: bool = False,
    output: Path | None = None,
    pairs: int = DEFAULT_PAIRS,
    progress: Progress = unheard,
    world: World = ALONE,
    heard: Callable[[Answered], None] | None = None,
) -> EvaluationReport:
    """Evaluate a model on a dataset.

    Classes are matched by name. Those that only the dataset or only the model has are left
    out (images of the former, the posterior's share of the latter) and named in the report.

    Args:
        model: what to evaluate.
        data: the images.
        steps: S, the number of draws, 1..T; `EVALUATION_STEPS` if neither it nor ``delta`` is
            given. A baseline that sees no noise takes as few as `Model.draws_taken` says.
        delta: score sequentially; at most this share of the images may get another answer than
            all the draws of the calibration would give. Takes a calibrated model.
        budget: with ``delta``, most draws for an image.
        seed: of the draws and of the choice of images.
        limit: evaluate a stratified subset of this many images.
        detect: find, align and crop the face in every image first, as `predict` does; images
            without one are skipped and counted.
        output: folder for ``report.json``, ``predictions.csv`` and the errors; an interrupted
            evaluation resumes there.
        pairs: most (image, draw) pairs in one call of the network; does not change the answer.
        progress: is told how far the evaluation is.
        world: the processes that share the images; all of them get the report, the main one
            writes it.
        heard: is told the answer to every image.

    Returns:
        The report: the figures, their cost, and what was evaluated on what.

    Raises:
        ValueError: fewer than two classes in common, no readable image, ``steps`` or ``limit``
            out of range, ``steps`` beside ``delta``, a ``budget`` without ``delta``, or ``output``
            holds another evaluation.
        OSError: ``output`` cannot be written.
    """
    scoring = _scoring(model, steps, delta, budget, seed)
    answered = model.answers
    matched = match_classes(answered, data.label_set)
    ids = model.columns[matched.columns].tolist()
    if len(ids) < len(model.label_set):
        model = replace(model, decision=model.decision.among(ids))
    chosen = data.subset(np.flatnonzero(matched.label[data.labels] >= 0))
    if limit is not None:
        chosen = chosen.subset(stratified_subset(chosen.labels, limit, seed))
    if detect:
        chosen = aligned(chosen, model.require_geometry(), model.settings.codec.size)
    scores = score_images(
        model,
        chosen,
        scoring.score(model, pairs),
        scoring.identity(model),
        folder=None if output is None else output / ERRORS,
        chunk=_CHUNK if delta is None else _LONG_CHUNK,
        progress=progress,
        world=world,
    )
    _require_answers(model, data, scores)
    labels = torch.from_numpy(matched.label[chosen.labels])[scores.index]  # (N,) of the shared
    answers, errors = scoring.answers(model, scores, labels)
    if heard is not None:
        heard(Answered(chosen, scores.index, labels, answers.probabilities, matched.names))
    report = EvaluationReport(
        **summarize(answers.probabilities, labels, matched.names),
        trunk_passes_per_image=float(answers.draws.double().mean()),
        prompt_evaluations_per_image=float(answers.evaluations.double().mean()),
        seconds_per_image=scores.seconds / (len(scores.index) + len(scores.skipped)),
        prediction_sets=_set_figures(answers, labels, model.decision.coverage),
        **vars(scoring),
        limit=limit,
        model=_about_model(model, answered, data),
        data=_about_data(answered, data, chosen, int((matched.label[data.labels] < 0).sum())),
        detect=detect,
        groups=_groups(chosen, scores.index, answers.probabilities, labels),
        n_skipped=len(scores.skipped),
        n_without_face=sum(reason.startswith(NO_FACE) for _, reason in scores.skipped),
        skipped=[SkippedImage(id=chosen.ids[i], reason=reason) for i, reason in scores.skipped],
        error_by_timestep=errors,
        versions={"emodc": version("emodc"), "torch": str(torch.__version__)},
    )
    if output is not None and world.is_main:
        ids = [chosen.ids[i] for i in scores.index.tolist()]
        table = _predictions(ids, labels, answers.probabilities, matched.names)
        write_atomically(output / PREDICTIONS, table.encode())
        report.write(output / REPORT)
    return report


@dataclass(frozen=True)
class _Scoring:
    """How images are scored: plainly with S draws or, with ``delta``, sequentially."""

    steps: int
    delta: float | None
    budget: int | None
    seed: int

    def score(self, model: Model, pairs: int) -> Score:
        """Return what is measured of images."""
        if self.delta is None:
            return score_errors(model, steps=self.steps, seed=self.seed, pairs=pairs)
        bank, delta, budget = model.draws(self.steps, self.seed), self.delta, self.budget

        def score(x0: Tensor) -> dict[str, Tensor]:
            return vars(sequential_outcome(model, x0, bank, delta, budget=budget, pairs=pairs))

        return score

    def identity(self, model: Model) -> dict[str, object]:
        """Return what of it decides the scores."""
        if self.delta is None:
            return {"seed": self.seed, "steps": self.steps}
        settings = {"delta": self.delta, "budget": self.budget, "decision": model.decision}
        return {"seed": self.seed, **settings}

    def answers(
        self, model: Model, scores: Scores, labels: Tensor
    ) -> tuple[Answers, list[TimestepError]]:
        """Return the answers and, of plain scoring, the mean d_p at every timestep."""
        if self.delta is not None:
            return sequential_answers(model, Outcome(**scores.values), self.delta), []
        t = model.decision.timesteps(model.schedule.timesteps, self.steps)
        errors = scores.values["errors"]  # (N, K, S)
        answers = plain_answers(model, errors, t)
        if not model.sees_noise:
            return answers, []
        counted = errors[torch.arange(len(labels)), model.columns[labels]].double()  # (N, S)
        sigma = scores.values.get("sigma", torch.zeros(len(labels)))
        d_p = (counted / model.noise_gain(sigma).unsqueeze(1)).mean(dim=0)  # (S,)
        pairs = zip(t.tolist(), d_p.tolist(), strict=True)
        return answers, [TimestepError(t=step, d_p=error) for step, error in pairs]


def _scoring(
    model: Model, steps: int | None, delta: float | None, budget: int | None, seed: int
) -> _Scoring:
    if delta is not None:
        check_scoring(steps, delta, budget)
        return _Scoring(require_adaptive(model).steps, delta, budget, seed)
    wanted = EVALUATION_STEPS if steps is None else steps
    check_scoring(wanted, delta, budget)
    return _Scoring(model.draws_taken(wanted), None, None, seed)


def _require_answers(model: Model, data: FaceData, scores: Scores) -> None:
    if len(scores.index) == 0:
        raise ValueError(f"{data.name}: no image can be read: {scores.skipped[0][1]}")
    if not all(bool(values.isfinite().all()) for values in scores.values.values()):
        raise ValueError(
            f"model '{model.name}' predicts NaN or infinite noise: its weights diverged"
        )


def _about_model(model: Model, answered: LabelSet, data: FaceData) -> EvaluatedModel:
    prior = model.decision.prior
    known = {} if prior is None else dict(zip(model.label_set.classes, prior.answered, strict=True))
    return EvaluatedModel(
        name=model.name,
        precision=model.precision,
        weights_sha256=weights_hash(model),
        decision=model.decision.model_dump(mode="json"),
        prior=known,
        classes_left_out=missing_classes(answered, data.label_set),
    )


def _about_data(
    answered: LabelSet, data: FaceData, chosen: FaceData, images_left_out: int
) -> EvaluatedData:
    return EvaluatedData(
        name=data.name,
        split=data.split,
        fingerprint=chosen.fingerprint(),
        notes=dict(data.notes),
        classes_left_out=missing_classes(data.label_set, answered),
        images_left_out=images_left_out,
    )


def _set_figures(answers: Answers, labels: Tensor, coverage: float | None) -> PredictionSets | None:
    """Return how often the prediction sets hold the truth, and their sizes."""
    if answers.thresholds is None or coverage is None:
        return None
    held = answers.probabilities >= answers.thresholds  # (N, K')
    return PredictionSets(
        wanted_coverage=coverage,
        coverage=float(held[torch.arange(len(labels)), labels].double().mean()),
        mean_size=float(held.sum(dim=1).double().mean()),
        share_of_single=float((held.sum(dim=1) == 1).double().mean()),
    )


def _groups(
    data: FaceData, index: Tensor, probabilities: Tensor, labels: Tensor
) -> dict[str, dict[str, GroupFigures]]:
    """Return accuracies by attribute and value; images whose value is not known are left out."""
    predicted = probabilities.argmax(dim=1)
    groups: dict[str, dict[str, GroupFigures]] = {}
    for name, known in data.attributes.items():
        values = np.array([known[i] for i in index.tolist()])
        groups[name] = {}
        for value in sorted(set(values.tolist()) - {""}):
            among = torch.from_numpy(values == value)
            right, images = int((predicted == labels)[among].sum()), int(among.sum())
            groups[name][value] = GroupFigures(
                n_images=images,
                accuracy=right / images,
                accuracy_ci95=accuracy_interval(right, images),
                mean_class_accuracy=mean_class_accuracy(predicted[among], labels[among]),
            )
    return groups


def _predictions(
    ids: list[str], labels: Tensor, probabilities: Tensor, classes: Sequence[str]
) -> str:
    """Return a CSV table: id, truth, label and a column of probabilities for every class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "truth", "label", *classes])
    for name, truth, row in zip(ids, labels.tolist(), probabilities, strict=True):
        p = [f"{value:.6f}" for value in row.tolist()]
        writer.writerow([name, classes[truth], classes[int(row.argmax())], *p])
    return text.getvalue()
