"""From finished results to the report: every figure, ready for JSON."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emodc.corruptions import CORRUPTIONS, flip_rate
from emodc.evaluation.face_sample import FaceSample
from emodc.evaluation.metrics import calibration_error
from emodc.evaluation.statistics import (
    corruption_error,
    mean_class_share,
    mean_interval,
    paired_difference,
    relative_corruption_error,
    share_right,
)
from emodc.experiments.robustness.attack_tasks import Task
from emodc.experiments.robustness.conditions import CLEAN, Condition
from emodc.experiments.robustness.results import Results
from emodc.experiments.robustness.subjects import Subject
from emodc.support.results import Result

FORMAT = 1
"""Of the report."""

_HASH = 64  # characters of a hash

Attacked = Mapping[str, Sequence[tuple[Task, Sequence[Result]]]]
"""By subject, the attacks on it and what they found, in parts."""


def summarize_results(results: Results, baseline: str | None = None) -> dict[str, Any]:
    """Return the report of a finished comparison.

    Args:
        results: all of them finished.
        baseline: the subject that the others are compared with; the last one if not given.

    Returns:
        ``models`` (what was tested and its summary), ``cells`` (one for each model, corruption and
        severity), ``flips``, ``attacks``, ``least``, ``findings``, and what was shown to them.

    Raises:
        ValueError: no subject is called like the baseline, or a result is missing.
    """
    reference = _baseline(results.subjects, baseline)
    sample = results.sample
    attacked = {s.name: results.attacked(s) for s in results.subjects}
    return {
        "format": FORMAT,
        "n_images": len(sample.labels),
        "classes": list(sample.classes),
        "seeds": list(results.seeds),
        "baseline": reference.name if len(results.subjects) > 1 else None,
        "data": _data(sample),
        "models": [_model(results, subject, reference) for subject in results.subjects],
        "cells": [
            _cell(results, subject, condition)
            for subject in results.subjects
            for condition in _single(results)
        ],
        "flips": [
            {
                "model": subject.name,
                "sequence": condition.name,
                "frames": condition.frames,
                "flip_rate": _flip_rate(results, subject, condition),
            }
            for subject in results.subjects
            for condition in _sequences(results)
        ],
        "attacks": _attacks(attacked, "robust", _robust),
        "not_attacked": [
            {"model": name, "reason": "it gives no gradient: attack it with square"}
            for name, tasks in attacked.items()
            if results.attack is not None and not tasks
        ],
        "least": _attacks(attacked, "least", _minimal),
        "findings": _findings(attacked),
        "skipped": [{"id": name, "reason": reason} for name, reason in sample.skipped],
        "versions": {"emodc": version("emodc"), "torch": str(torch.__version__)},
    }


def _baseline(subjects: Sequence[Subject], name: str | None) -> Subject:
    if name is None:
        return subjects[-1]
    for subject in subjects:
        if subject.name == name:
            return subject
    known = ", ".join(subject.name for subject in subjects)
    raise ValueError(f"the baseline '{name}' is none of the models: {known}")


def _data(sample: FaceSample) -> dict[str, Any]:
    return {
        "name": sample.data.name,
        "split": sample.data.split,
        "fingerprint": sample.data.fingerprint(),
        "images_left_out": sample.images_left_out,
        "notes": dict(sample.data.notes),
    }


def _single(results: Results) -> list[Condition]:
    return [c for c in results.conditions if c.kind != "sequence"]


def _corruptions(results: Results) -> list[Condition]:
    return [c for c in results.conditions if c.kind == "corruption"]


def _sequences(results: Results) -> list[Condition]:
    return [c for c in results.conditions if c.kind == "sequence"]


def _model(results: Results, subject: Subject, reference: Subject) -> dict[str, Any]:
    """Return what a subject is, and its figures over all corruptions and sequences."""
    labels = results.sample.labels
    clean = results.right(subject, CLEAN)  # (N,)
    facts: dict[str, Any] = {
        "name": subject.name,
        "draws": subject.draws,
        "identity": {name: _short(value) for name, value in subject.identity.items()},
        "clean": {**_figures(clean, labels), "draws": results.mean_draws(subject, CLEAN)},
        "corrupted": None,
        "flip_rate": None,
    }
    compared = subject is not reference
    if compared:
        facts["clean"] |= paired_difference(clean, results.right(reference, CLEAN))
    if sequences := _sequences(results):
        rates = [_flip_rate(results, subject, condition) for condition in sequences]
        facts["flip_rate"] = sum(rates) / len(rates)
    if not (corruptions := _corruptions(results)):
        return facts
    right = _mean_right(results, subject, corruptions)
    accuracy = float(right.mean())
    errors, others = (_errors(results, s, corruptions) for s in (subject, reference))
    clean_error, other_clean = (
        1 - float(results.right(s, CLEAN).mean()) for s in (subject, reference)
    )
    facts["corrupted"] = {
        "accuracy": accuracy,
        "accuracy_ci95": mean_interval(right),
        "mean_class_accuracy": mean_class_share(right, labels),
        "draws": fmean(results.mean_draws(subject, condition) for condition in corruptions),
        "relative_drop": None if clean_error == 1 else 1 - accuracy / (1 - clean_error),
        "mce": corruption_error(errors, others) if len(results.subjects) > 1 else None,
        "relative_mce": relative_corruption_error(errors, clean_error, others, other_clean)
        if len(results.subjects) > 1
        else None,
        "by_corruption": {
            name: _by_corruption(results, subject, reference, name) for name in errors
        },
    }
    if compared:
        facts["corrupted"] |= paired_difference(right, _mean_right(results, reference, corruptions))
    return facts


def _by_corruption(
    results: Results, subject: Subject, reference: Subject, name: str
) -> dict[str, Any]:
    conditions = [c for c in _corruptions(results) if c.name == name]
    right = _mean_right(results, subject, conditions)
    found: dict[str, Any] = {
        "group": CORRUPTIONS[name].group,
        "accuracy": float(right.mean()),
        "accuracy_ci95": mean_interval(right),
        "mean_class_accuracy": mean_class_share(right, results.sample.labels),
    }
    if subject is not reference:
        found |= paired_difference(right, _mean_right(results, reference, conditions))
    return found


def _mean_right(results: Results, subject: Subject, conditions: Sequence[Condition]) -> Tensor:
    """Return each face's share of right answers over conditions and seeds, (N,) float64."""
    return torch.stack([results.right(subject, c) for c in conditions]).mean(dim=0)


def _errors(
    results: Results, subject: Subject, conditions: Sequence[Condition]
) -> dict[str, dict[int, float]]:
    errors: dict[str, dict[int, float]] = {}
    for condition in conditions:
        error = 1 - float(results.right(subject, condition).mean())
        errors.setdefault(condition.name, {})[condition.severity] = error
    return errors


def _figures(right: Tensor, labels: Tensor) -> dict[str, Any]:
    return {**share_right(right), "mean_class_accuracy": mean_class_share(right, labels)}


def _cell(results: Results, subject: Subject, condition: Condition) -> dict[str, Any]:
    labels = results.sample.labels
    ece = [
        calibration_error(results.probabilities(subject, condition, seed)[:, 0], labels)
        for seed in results.seeds
    ]
    return {
        "model": subject.name,
        "corruption": condition.name,
        "severity": condition.severity,
        **_figures(results.right(subject, condition), labels),
        "ece": sum(ece) / len(ece),
        "draws": results.mean_draws(subject, condition),
    }


def _flip_rate(results: Results, subject: Subject, condition: Condition) -> float:
    rates = []
    for seed in results.seeds:
        answers = results.probabilities(subject, condition, seed).argmax(dim=2)  # (N, F)
        rates.append(flip_rate(answers.numpy(), condition.name))
    return float(np.mean(rates))


def _findings(attacked: Attacked) -> list[dict[str, Any]]:
    return [
        {"model": name, **task.settings, **finding}
        for name, tasks in attacked.items()
        for task, parts in tasks
        if task.kind == "checks"
        for part in parts
        for finding in part.facts["findings"]
    ]


def _attacks(
    attacked: Attacked, kind: str, figures: Callable[[Sequence[Result]], dict[str, Any]]
) -> list[dict[str, Any]]:
    return [
        {"model": name, **task.settings, **figures(parts)}
        for name, tasks in attacked.items()
        for task, parts in tasks
        if task.kind == kind
    ]


def _robust(parts: Sequence[Result]) -> dict[str, Any]:
    right = torch.cat([part.tensors["right"] for part in parts])
    return {"n_images": len(right), **share_right(right)}


def _minimal(parts: Sequence[Result]) -> dict[str, Any]:
    """Return medians; those of the faces that needed a change at all beside those of all."""
    distances = torch.cat([part.tensors["distance"] for part in parts]).tolist()
    changed = [distance for distance in distances if distance > 0]
    return {
        "n_images": len(distances),
        "median": _finite(median(distances)),
        "right_when_clean": len(changed),
        "median_of_these": _finite(median(changed)) if changed else None,
    }


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def _short(value: str) -> str:
    """Return a setting, or its hash if it is longer than one: a decision fills pages."""
    return value if len(value) <= _HASH else hashlib.sha256(value.encode()).hexdigest()
