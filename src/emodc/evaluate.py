"""Evaluation: the diffusion classifier on a labelled data set, with one bank of draws."""

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

from emodc.checkpoint import Model, write_atomically
from emodc.classifier import DEFAULT_PAIRS, posterior
from emodc.data.base import FaceData
from emodc.data.subset import stratified_subset
from emodc.labels import LabelSet, canonical_name
from emodc.metrics import summarise
from emodc.scoring import Progress, score_images, state_hash

REPORT, PREDICTIONS, ERRORS = "report.json", "predictions.csv", "errors"
"""What an evaluation's folder holds: two files, and a folder of saved errors."""


def evaluate(
    model: Model,
    data: FaceData,
    *,
    steps: int = 100,
    seed: int = 0,
    limit: int | None = None,
    output: Path | None = None,
    pairs: int = DEFAULT_PAIRS,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Evaluate a model on a data set.

    Classes are matched by name. Those that only the data set or only the model has are left
    out (images of the former, the posterior's share of the latter) and named in the report.

    Args:
        model: what to evaluate.
        data: the images.
        steps: S, the number of draws, 1..T.
        seed: of the draws and of the choice of images.
        limit: evaluate a stratified subset of this many images.
        output: folder for ``report.json``, ``predictions.csv`` and the errors; an evaluation
            interrupted there goes on.
        pairs: most (image, draw) pairs in one call of the network; does not change the answer.
        progress: is told how far the evaluation is.

    Returns:
        The report, ready for JSON: the figures of :func:`emodc.metrics.summarise`, cost per
        image, ``error_by_timestep`` (mean d_p over the images), and what was evaluated on what.

    Raises:
        ValueError: fewer than two classes in common, no readable image, ``steps`` or ``limit``
            out of range, or ``output`` holds another evaluation.
        OSError: ``output`` cannot be written.
    """
    shared, new_label = _match(model.label_set, data.label_set)
    ours = data.subset(np.flatnonzero(new_label[data.labels] >= 0))
    if limit is not None:
        ours = ours.subset(stratified_subset(ours.labels, limit, seed))
    folder = None if output is None else output / ERRORS
    scores = score_images(
        model, ours, steps=steps, seed=seed, folder=folder, pairs=pairs, progress=progress
    )
    if len(scores.index) == 0:
        raise ValueError(f"{data.name}: no image can be read: {scores.skipped[0][1]}")
    if not bool(scores.errors.isfinite().all()):
        raise ValueError(
            f"model '{model.name}' predicts NaN or infinite noise: its weights diverged"
        )

    labels = torch.from_numpy(new_label[ours.labels])[scores.index]  # (N,) among the shared
    classes = [model.label_set.classes[k] for k in shared.tolist()]
    probabilities = posterior(scores.errors[:, shared], model.scale)
    d_p = scores.errors[torch.arange(len(labels)), shared[labels]].double()  # (N, S)
    report = {
        **summarise(probabilities, labels, classes),
        "trunk_passes_per_image": steps,
        "prompt_evaluations_per_image": steps * len(model.label_set),
        "seconds_per_image": scores.seconds / (len(scores.index) + len(scores.skipped)),
        "steps": steps,
        "seed": seed,
        "limit": limit,
        "model": {
            "name": model.name,
            "weights_sha256": state_hash(model.backbone.state_dict()),
            "scale": model.scale,
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
        "n_skipped": len(scores.skipped),
        "skipped": [{"id": ours.ids[i], "reason": reason} for i, reason in scores.skipped],
        "error_by_timestep": [
            {"t": int(t), "d_p": float(d)} for t, d in zip(scores.t, d_p.mean(dim=0), strict=True)
        ],
        "versions": {"emodc": version("emodc"), "torch": str(torch.__version__)},
    }
    if output is not None:
        ids = [ours.ids[i] for i in scores.index.tolist()]
        table = _predictions(ids, labels, probabilities, classes)
        write_atomically(output / PREDICTIONS, table.encode())
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        write_atomically(output / REPORT, text.encode())
    return report


def _match(model_set: LabelSet, data_set: LabelSet) -> tuple[Tensor, NDArray[np.int64]]:
    """Match two label sets by name.

    Returns:
        (K',) int64: the model's ids of the shared classes, in its order; and, for each class of
        the data set, its position among these, or -1.
    """
    theirs = [canonical_name(name) for name in data_set.classes]
    shared = [k for k, name in enumerate(model_set.classes) if canonical_name(name) in theirs]
    if len(shared) < 2:
        raise ValueError(
            f"the model tells {', '.join(model_set.classes)} apart, the data set has "
            f"{', '.join(data_set.classes)}: at least two classes must be common to both"
        )
    new_label = np.full(len(data_set), -1, dtype=np.int64)
    for position, k in enumerate(shared):
        new_label[theirs.index(canonical_name(model_set.classes[k]))] = position
    return torch.tensor(shared), new_label


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
