"""Evaluation: the diffusion classifier on a labeled dataset, with one bank of draws."""

import csv
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.data.alignment import NO_FACE, aligned
from emodc.data.face_data import FaceData
from emodc.data.subset import stratified_subset
from emodc.evaluation.metrics import accuracy_interval, mean_class_accuracy, summarize
from emodc.inference.dataset_scores import Score, score_errors, score_images
from emodc.inference.scorer import (
    Answers,
    check_scoring,
    plain_answers,
    require_adaptive,
    sequential_answers,
    sequential_outcome,
)
from emodc.labels import LabelSet, canonical_name, common_classes
from emodc.method.draws import spaced_timesteps
from emodc.method.errors import DEFAULT_PAIRS
from emodc.method.sequential import Outcome
from emodc.model.identity import weights_hash
from emodc.model.model import Model
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
) -> dict[str, Any]:
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
        output: folder for ``report.json``, ``predictions.csv`` and the errors; an evaluation
            interrupted there goes on.
        pairs: most (image, draw) pairs in one call of the network; does not change the answer.
        progress: is told how far the evaluation is.
        world: the processes that share the images; all of them get the report, the main one
            writes it.

    Returns:
        The report, ready for JSON: the figures of :func:`emodc.evaluation.metrics.summarize`, cost
        per image, ``error_by_timestep`` (mean d_p over the images; plain scoring only), ``groups``
        (figures for each value of the dataset's attributes), and what was evaluated on what.

    Raises:
        ValueError: fewer than two classes in common, no readable image, ``steps`` or ``limit``
            out of range, ``steps`` beside ``delta``, a ``budget`` without ``delta``, or ``output``
            holds another evaluation.
        OSError: ``output`` cannot be written.
    """
    shared, new_label = _match(model.label_set, data.label_set)
    ours = data.subset(np.flatnonzero(new_label[data.labels] >= 0))
    if limit is not None:
        ours = ours.subset(stratified_subset(ours.labels, limit, seed))
    if detect:
        ours = aligned(ours, model.require_geometry(), model.settings.codec.size)
    folder = None if output is None else output / ERRORS
    settings: dict[str, object] = {"seed": seed}
    if delta is None:
        steps = EVALUATION_STEPS if steps is None else steps
        check_scoring(steps, delta, budget)
        steps = model.draws_taken(steps)
        score, chunk = score_errors(model, steps=steps, seed=seed, pairs=pairs), _CHUNK
        settings["steps"] = steps
    else:
        check_scoring(steps, delta, budget)
        steps = require_adaptive(model).steps
        score = _score_sequentially(model, delta, budget, seed, shared, pairs)
        settings |= {"delta": delta, "budget": budget, "decision": model.decision}
        chunk = _LONG_CHUNK
    scores = score_images(
        model, ours, score, settings, folder=folder, chunk=chunk, progress=progress, world=world
    )
    if len(scores.index) == 0:
        raise ValueError(f"{data.name}: no image can be read: {scores.skipped[0][1]}")
    if not all(bool(values.isfinite().all()) for values in scores.values.values()):
        raise ValueError(
            f"model '{model.name}' predicts NaN or infinite noise: its weights diverged"
        )

    labels = torch.from_numpy(new_label[ours.labels])[scores.index]  # (N,) among the shared
    classes = [model.label_set.classes[k] for k in shared.tolist()]
    t = spaced_timesteps(model.schedule.timesteps, steps)
    if delta is None:
        errors = scores.values["errors"][:, shared]  # (N, K', S)
        answers = plain_answers(model, errors, t)
        counted = errors[torch.arange(len(labels)), labels].double()  # (N, S)
        sigma = scores.values.get("sigma", torch.zeros(len(labels)))
        d_p = (counted / model.noise_gain(sigma).unsqueeze(1)).mean(dim=0)  # (S,)
    else:
        answers = sequential_answers(model, Outcome(**scores.values), delta)
    probabilities = answers.probabilities
    report = {
        **summarize(probabilities, labels, classes),
        "trunk_passes_per_image": float(answers.draws.double().mean()),
        "prompt_evaluations_per_image": float(answers.evaluations.double().mean()),
        "seconds_per_image": scores.seconds / (len(scores.index) + len(scores.skipped)),
        "prediction_sets": _set_figures(answers, labels, model.decision.coverage),
        "steps": steps,
        "delta": delta,
        "budget": budget,
        "seed": seed,
        "limit": limit,
        "model": {
            "name": model.name,
            "precision": model.precision,
            "weights_sha256": weights_hash(model),
            "decision": model.decision.model_dump(mode="json"),
            "classes_left_out": _missing(model.label_set, data.label_set),
        },
        "data": {
            "name": data.name,
            "split": data.split,
            "fingerprint": ours.fingerprint(),
            "notes": dict(data.notes),
            "classes_left_out": _missing(data.label_set, model.label_set),
            "images_left_out": int((new_label[data.labels] < 0).sum()),
        },
        "detect": detect,
        "groups": _groups(ours, scores.index, probabilities, labels),
        "n_skipped": len(scores.skipped),
        "n_without_face": sum(reason.startswith(NO_FACE) for _, reason in scores.skipped),
        "skipped": [{"id": ours.ids[i], "reason": reason} for i, reason in scores.skipped],
        "error_by_timestep": []
        if delta is not None or not model.sees_noise
        else [{"t": s, "d_p": d} for s, d in zip(t.tolist(), d_p.tolist(), strict=True)],
        "versions": {"emodc": version("emodc"), "torch": str(torch.__version__)},
    }
    if output is not None and world.is_main:
        ids = [ours.ids[i] for i in scores.index.tolist()]
        table = _predictions(ids, labels, probabilities, classes)
        write_atomically(output / PREDICTIONS, table.encode())
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        write_atomically(output / REPORT, text.encode())
    return report


def _score_sequentially(
    model: Model, delta: float, budget: int | None, seed: int, shared: Tensor, pairs: int
) -> Score:
    bank = model.draws(require_adaptive(model).steps, seed)

    def score(x0: Tensor) -> dict[str, Tensor]:
        classes = shared.tolist()
        found = sequential_outcome(
            model, x0, bank, delta, budget=budget, classes=classes, pairs=pairs
        )
        return vars(found)

    return score


def _set_figures(
    answers: Answers, labels: Tensor, coverage: float | None
) -> dict[str, float] | None:
    """Return how often the prediction sets hold the truth, and their sizes."""
    if answers.least_probability is None or coverage is None:
        return None
    held = answers.probabilities >= answers.least_probability  # (N, K')
    return {
        "wanted_coverage": coverage,
        "coverage": float(held[torch.arange(len(labels)), labels].double().mean()),
        "mean_size": float(held.sum(dim=1).double().mean()),
        "share_of_single": float((held.sum(dim=1) == 1).double().mean()),
    }


def _groups(
    data: FaceData, index: Tensor, probabilities: Tensor, labels: Tensor
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return accuracies by attribute and value; images whose value is not known are left out."""
    predicted = probabilities.argmax(dim=1)
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for name, known in data.attributes.items():
        values = np.array([known[i] for i in index.tolist()])
        groups[name] = {}
        for value in sorted(set(values.tolist()) - {""}):
            among = torch.from_numpy(values == value)
            right, images = int((predicted == labels)[among].sum()), int(among.sum())
            groups[name][value] = {
                "n_images": images,
                "accuracy": right / images,
                "accuracy_ci95": list(accuracy_interval(right, images)),
                "mean_class_accuracy": mean_class_accuracy(predicted[among], labels[among]),
            }
    return groups


def _match(model_set: LabelSet, dataset: LabelSet) -> tuple[Tensor, NDArray[np.int64]]:
    """Match two label sets by name.

    Returns:
        (K',) int64: the model's ids of the shared classes, in its order; and, for each class of
        the dataset, its position among these, or -1.
    """
    common = common_classes([model_set], dataset)
    ours = [canonical_name(name) for name in model_set.classes]
    theirs = [canonical_name(name) for name in dataset.classes]
    new_label = np.array([common.index(name) if name in common else -1 for name in theirs])
    return torch.tensor([ours.index(name) for name in common]), new_label


def _missing(of: LabelSet, among: LabelSet) -> list[str]:
    known = {canonical_name(name) for name in among.classes}
    return [name for name in of.classes if canonical_name(name) not in known]


def _predictions(ids: list[str], labels: Tensor, probabilities: Tensor, classes: list[str]) -> str:
    """Return a CSV table: id, truth, label and a column of probabilities for every class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "truth", "label", *classes])
    for name, truth, row in zip(ids, labels.tolist(), probabilities, strict=True):
        p = [f"{value:.6f}" for value in row.tolist()]
        writer.writerow([name, classes[truth], classes[int(row.argmax())], *p])
    return text.getvalue()
