"""From votes to report.json: certified accuracy by radius, and whether attacks confirm it."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from emodc.evaluation.statistics import share_right
from emodc.experiments.certification.measurement import Certification, Certified
from emodc.inference.smoothing import Smoothing
from emodc.model.identity import weights_hash
from emodc.support.timing import Progress, unheard

FORMAT = 1
"""Of report.json."""

RADII = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""At which the table states the certified accuracy, in units of a pixel's full range."""


def summarize(work: Certification, progress: Progress = unheard) -> dict[str, Any]:
    """Return the report of a finished certification, attacks on certified faces included.

    Args:
        work: all votes counted.
        progress: is told how far the attacks are.

    Returns:
        ``models`` with, for each noise level, the share of faces certified correctly at each of
        `RADII`, the curve, and the mean certified radius; ``attacks``; and what was measured.
    """
    sample = work.sample
    return {
        "format": FORMAT,
        "data": {
            "name": sample.data.name,
            "split": sample.data.split,
            "images": len(sample.labels),
            "fingerprint": sample.data.fingerprint(),
        },
        "skipped": [{"id": name, "reason": reason} for name, reason in sample.skipped],
        "classes": list(sample.classes),
        "alpha": work.alpha,
        "smoothing": [vars(smoothing) for smoothing in work.smoothings],
        "radii": list(RADII),
        "models": [_model(work, name) for name in work.models],
        "attacks": [
            {"model": name, "sigma": work.smoothings[0].sigma, **vars(attacked)}
            for name, model in work.models.items()
            if work.attacked and model.backbone.differentiable
            for attacked in [work.attack(name, work.smoothings[0], progress)]
        ],
        "versions": {"emodc": version("emodc"), "torch": str(torch.__version__)},
    }


def _model(work: Certification, name: str) -> dict[str, Any]:
    levels = [_level(work.certified(name, smoothing), smoothing) for smoothing in work.smoothings]
    model = work.models[name]
    return {
        "name": name,
        "weights_sha256": weights_hash(model),
        "levels": levels,
        "best": [
            max(level["at_radius"][n]["accuracy"] for level in levels) for n in range(len(RADII))
        ],
    }


def _level(found: Certified, smoothing: Smoothing) -> dict[str, Any]:
    radius = torch.where(found.right, found.radius, torch.zeros_like(found.radius))
    return {
        "sigma": smoothing.sigma,
        "abstained": float(found.abstained.double().mean()),
        "mean_radius": float(radius.mean()),
        "at_radius": [_certified_at(found, distance) for distance in RADII],
        "curve": sorted((float(r) for r in radius[found.right]), reverse=True),
    }


def _certified_at(found: Certified, distance: float) -> Mapping[str, Any]:
    """Return the share of faces whose true class is certain at least up to a distance."""
    return {"radius": distance, **share_right(found.right & (found.radius >= distance))}
