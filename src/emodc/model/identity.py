"""Hashes of what decides a model's answers."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version

from torch import Tensor

from emodc.model.model import Model
from emodc.support.tensors import pack_tensors


def model_identity(model: Model) -> dict[str, str]:
    """Return what of a model decides its errors, by the name that an error message uses."""
    settings = json.dumps([model.settings.model_dump(mode="json"), model.label_set.classes])
    decides = {"mirror", "noise_floor"} | ({"span"} if model.decision.span is not None else set())
    shown = model.decision.model_dump_json(include=decides)
    return {
        "weights": weights_hash(model),
        "model settings": hashlib.sha256(settings.encode()).hexdigest(),
        "way of showing images": shown,
        "precision": model.precision,
        "version of emodc": version("emodc"),
    }


def weights_hash(model: Model) -> str:
    """Return the SHA-256 of a model's weights, and of the checkpoint that they add to."""
    return state_hash(model.backbone.weights(), model.backbone.base.get("sha256", ""))


def state_hash(state: Mapping[str, Tensor], base: str = "") -> str:
    """Return the SHA-256 of weights as they are used, float32, whatever the file's precision.

    Args:
        state: `emodc.backbones.base.Backbone.weights`.
        base: hash of the checkpoint that they add to, if they do.
    """
    return hashlib.sha256(pack_tensors(state) + base.encode()).hexdigest()
